"""The report's part about training: the curves that were kept beside the artifacts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tasks.core.step import labelled
from tasks.core.workdir import METRICS_FILE
from tasks.formats.evaluation import TRAINING_SAMPLES_FILE
from tasks.views.report.charts import Series
from tasks.views.run_data import Run

NOT_CURVES = ("step", "time")
CHARTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Loss", ("loss", "valid_loss")),
    ("Bits per byte", ("valid_bits_per_byte",)),
    ("Learning rate", ("learning_rate",)),
    ("Throughput", ("tokens_per_second", "examples_per_second")),
    ("Gradient norm", ("grad_norm",)),
    ("Model FLOPs utilisation", ("mfu",)),
    ("Time waited", ("data_wait", "checkpoint_stall")),
)
NAMES = {
    "loss": "training",
    "valid_loss": "validation",
    "learning_rate": "learning rate",
    "tokens_per_second": "tokens per second",
    "examples_per_second": "examples per second",
    "grad_norm": "gradient norm",
    "valid_bits_per_byte": "held-out text",
    "mfu": "share of the devices' FLOPs",
    "data_wait": "share of the time, for data",
    "checkpoint_stall": "share of the time, for checkpoints",
}


@dataclass(frozen=True)
class Chart:
    """Series that share an axis."""

    title: str
    series: tuple[Series, ...]

    def rows(self, limit: int = 120) -> list[tuple[float, list[float | None]]]:
        """(step, the value of each series there), evenly thinned to about `limit` rows, the last among them."""
        values = [dict(series.points) for series in self.series]
        steps = sorted({step for found in values for step in found})
        every = max(1, math.ceil(len(steps) / limit))
        kept = [step for n, step in enumerate(steps) if n % every == 0 or n == len(steps) - 1]
        return [(step, [found.get(step) for found in values]) for step in kept]


@dataclass(frozen=True)
class Training:
    """The curves of one artifact."""

    label: str
    key: str
    steps: int
    seconds: float | None
    attempts: int
    charts: tuple[Chart, ...]
    samples: tuple[dict[str, str], ...] = ()
    """What the network wrote meanwhile: prompt, how (at which step), text."""
    said: str = ""
    """What it was trained on and what of that was left out, in a sentence."""


def trainings(run: Run) -> list[Training]:
    """The curves of every artifact that has some; of a step that a resumed trainer has repeated the last row counts."""
    found = []
    for manifest in run.manifests():
        curves = _curves(run.read_rows(manifest, f"aux/{METRICS_FILE}"))
        charts = [_chart(title, names, curves) for title, names in CHARTS]
        whole = tuple(chart for chart in charts if any(len(series.points) > 1 for series in chart.series))
        if whole:
            steps = int(max(x for chart in whole for series in chart.series for x, _ in series.points))
            made = manifest.made_by
            label = labelled(manifest.step, manifest.shard)
            attempts, wrote = (
                int(made.get("attempts") or 1),
                _samples(run.read_rows(manifest, f"aux/{TRAINING_SAMPLES_FILE}")),
            )
            about = str(manifest.stats.get("answers", ""))
            found.append(Training(label, manifest.key, steps, made.get("seconds"), attempts, whole, wrote, about))
    return found


def _samples(rows: Iterable[dict[str, Any]]) -> tuple[dict[str, str], ...]:
    """What the network wrote at first, half-way and at last."""
    known = list(rows)
    chosen = [known[n] for n in sorted({0, len(known) // 2, len(known) - 1})] if known else []
    return tuple({**sample, "how": f"step {row['step']}"} for row in chosen for sample in row["samples"])


def _curves(rows: Iterable[dict[str, Any]]) -> dict[str, dict[float, float]]:
    curves: dict[str, dict[float, float]] = {}
    for row in rows:
        for name, value in row.items():
            if name not in NOT_CURVES and isinstance(value, (int, float)) and math.isfinite(value):
                curves.setdefault(name, {})[float(row["step"])] = float(value)
    return curves


def _chart(title: str, names: tuple[str, ...], curves: dict[str, dict[float, float]]) -> Chart:
    return Chart(title, tuple(Series(NAMES[n], tuple(sorted(curves[n].items()))) for n in names if n in curves))
