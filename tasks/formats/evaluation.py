"""What an evaluation leaves: a table of items, the metrics that are made from them, and what a reader looks at."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

    from tasks.core.artifact import Artifact
    from tasks.core.workdir import Workdir

ITEMS_FILE = "items.parquet"
"""One row an item: its id, and what the metrics are made from."""
MEASURES_FILE = "metrics.json"
SAMPLES_FILE = "samples.json"
"""What the model wrote: a list of {prompt, how, text}."""
TRAINING_SAMPLES_FILE = "samples.jsonl"
"""The same while it was trained: lines of {step, samples}."""
CONFUSION_FILE = "confusion.json"
"""{labels, matrix}: how many items of a label (row) were taken for each (column)."""
DECISION_FILE = "decision.json"
"""Of a gate, made from evaluations."""
CALIBRATION_FILE = "calibration.json"
"""A list of {items, confidence, accuracy}, one for each bin of confidence that holds items."""


def write(
    work: Workdir,
    items: pl.DataFrame,
    metrics: Mapping[str, float],
    *,
    samples: Sequence[Mapping[str, Any]] | None = None,
    confusion: Mapping[str, Any] | None = None,
    calibration: Sequence[Mapping[str, float]] | None = None,
) -> dict[str, float]:
    """Write an evaluation's files; returns the metrics as they are kept: to six decimals, as their last bits depend on
    how a library adds up."""
    items.write_parquet(work / ITEMS_FILE, compression="zstd")
    kept = {name: round(float(value), 6) for name, value in metrics.items()}
    beside = {SAMPLES_FILE: samples, CONFUSION_FILE: confusion, CALIBRATION_FILE: calibration}
    for name, value in {MEASURES_FILE: kept, **beside}.items():
        if value is not None:
            write_json(work / name, value)
    return kept


def read_items(folder: Path | Artifact) -> pl.DataFrame:
    """The items of an evaluation."""
    import polars as pl

    return pl.read_parquet(folder / ITEMS_FILE)


def write_json(path: Path, value: Any) -> None:
    """Indented JSON with a line break at its end."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
