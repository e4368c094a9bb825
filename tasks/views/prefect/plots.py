"""Pictures of what a step has made, in one style: for MLflow, for Prefect's pages, and beside the artifact."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.core.workdir import METRICS_FILE
from tasks.formats.evaluation import CALIBRATION_FILE, CONFUSION_FILE, MEASURES_FILE
from tasks.formats.metrics import values
from tasks.models import kind as kinds
from tasks.views.palette import LIGHT, SERIES, most_frequent

STYLE: dict[str, Any] = {
    "figure.dpi": 110,
    "figure.facecolor": LIGHT["background"],
    "axes.facecolor": LIGHT["background"],
    "axes.edgecolor": LIGHT["line"],
    "axes.labelcolor": LIGHT["text"],
    "axes.titlecolor": LIGHT["text"],
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": LIGHT["line"],
    "grid.linewidth": 0.6,
    "xtick.color": LIGHT["muted"],
    "ytick.color": LIGHT["muted"],
    "text.color": LIGHT["text"],
    "font.size": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
}
LINES = ("-", "--", ":", "-.")
ANNOTATED, LARGEST = 25, 12.0
"""Most labels with which counts are written into a confusion matrix, and its longest side in inches."""


@contextmanager
def drawn(path: Path, width: float, height: float, **labels: str) -> Iterator[Any]:
    """Axes to draw on; saved as PNG when left."""
    from matplotlib import rc_context, rcdefaults, rcParams
    from matplotlib.figure import Figure

    with rc_context():
        rcdefaults()  # not what a matplotlibrc says where a person stands
        rcParams.update(STYLE)  # type: ignore[arg-type]
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.add_subplot(**labels)
        yield axes
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path)


def curve(rows: Sequence[Mapping[str, Any]], title: str, path: Path) -> None:
    """Training and validation loss over the steps."""
    names = {"loss": "training", "valid_loss": "validation"}
    with drawn(path, 6.4, 3.4, xlabel="step", ylabel="loss", title=title) as axes:
        for n, (name, label) in enumerate(names.items()):
            points = [(row["step"], row[name]) for row in rows if name in row]
            if points:
                mark = "o" if len(points) < 20 else None
                axes.plot(*zip(*points, strict=True), LINES[n], color=SERIES[n], marker=mark, markersize=4, label=label)
        axes.legend()


def bars(metrics: Mapping[str, float], rows: Mapping[str, str], xlabel: str, title: str, path: Path) -> None:
    """Values with their intervals; `rows` are labels and names of metrics, the baselines last and in grey."""
    known = {label: name for label, name in rows.items() if name in metrics}
    values = [metrics[name] for name in known.values()]
    low = [max(0.0, metrics[name] - metrics.get(f"{name}_lo", metrics[name])) for name in known.values()]
    high = [max(0.0, metrics.get(f"{name}_hi", metrics[name]) - metrics[name]) for name in known.values()]
    ours = [SERIES[0] if not label.startswith("baseline") else SERIES[5] for label in known]
    with drawn(path, 6.4, 1.1 + 0.36 * len(known), xlabel=xlabel, title=title) as axes:
        axes.barh(list(known), values, height=0.6, color=ours, xerr=[low, high], ecolor=LIGHT["text"], capsize=3)
        reach = max(value + more for value, more in zip(values, high, strict=True))
        for place, (value, more) in enumerate(zip(values, high, strict=True)):
            axes.text(value + more + 0.01 * reach, place, f" {value:.3f}", va="center")
        axes.set_xlim(0, 1.12 * reach)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)


def confusion(labels: Sequence[str], matrix: Sequence[Sequence[int]], path: Path) -> None:
    """The confusion matrix (rows: truth, columns: prediction), each row as shares, the counts written in.

    Of many labels those with the most items are drawn, and the title says so.
    """
    every = len(labels)
    shown = most_frequent(matrix)
    shares = [[matrix[row][column] / max(1, sum(matrix[row])) for column in shown] for row in shown]
    labels, matrix = [labels[n] for n in shown], [[matrix[row][column] for column in shown] for row in shown]
    title = "Confusion matrix" + (
        f" of the {len(labels)} most frequent of {every} labels" if len(labels) < every else ""
    )
    size = min(2.4 + 0.42 * len(labels), LARGEST)
    with drawn(path, size, size, xlabel="predicted", ylabel="label", title=title) as axes:
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        axes.set_xticks(range(len(labels)), labels, rotation=90)
        axes.set_yticks(range(len(labels)), labels)
        axes.grid(visible=False)
        for row, counts in enumerate(matrix if len(labels) <= ANNOTATED else ()):
            for column, count in enumerate(counts):
                if count:
                    ink = "white" if shares[row][column] > 0.55 else LIGHT["text"]
                    axes.text(column, row, str(count), ha="center", va="center", fontsize=7, color=ink)


def calibration(bins: Sequence[Mapping[str, float]], path: Path) -> None:
    """How often the classifier is right, by how sure it is; bins hold confidence, accuracy and items."""
    with drawn(path, 4.2, 4.0, xlabel="confidence", ylabel="share that is right", title="Calibration") as axes:
        axes.plot([0, 1], [0, 1], LINES[1], color=LIGHT["muted"], label="as sure as right")
        sizes = [12 + 120 * b["items"] / max(1, sum(b["items"] for b in bins)) for b in bins]
        axes.plot([b["confidence"] for b in bins], [b["accuracy"] for b in bins], color=SERIES[0])
        axes.scatter(
            [b["confidence"] for b in bins], [b["accuracy"] for b in bins], sizes, color=SERIES[0], label="the model"
        )
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.legend(loc="upper left")


def draw(step: str, folder: Path) -> None:
    """What there is to draw of a step's work directory, into aux/plots/."""
    target = folder / "aux" / "plots"
    rows = read_rows(folder / "aux" / METRICS_FILE)
    if any("loss" in row or "valid_loss" in row for row in rows):
        curve(rows, step.replace("_", " "), target / "training_curve.png")
    metrics = _json(folder / "content" / MEASURES_FILE)
    if metrics and (kind := kinds.measured_by(step)) and (name := kinds.headline(step, metrics)):
        metric = kinds.metric(name)
        parts = {part.partition("/")[2]: part for part in values(metrics) if part.startswith(f"{name}/")}
        beside = {f"baseline: {who}": f"{baseline}_{name}" for baseline, who in kind.baselines.items()}
        better = f" ({metric.better} is better)" if metric.better else ""
        rows_of = {"all" if parts else "the model": name, **parts, **beside}
        bars(metrics, rows_of, f"{metric.label}{better}", "Held-out items", target / f"{name}.png")
    if found := _json(folder / "content" / CONFUSION_FILE):
        confusion(found["labels"], found["matrix"], target / "confusion.png")
    if found := _json(folder / "content" / CALIBRATION_FILE):
        calibration(found, target / "calibration.png")


def read_rows(file: Path) -> list[dict[str, Any]]:
    """Rows of a metrics file; none if it is not there."""
    return [json.loads(line) for line in file.read_bytes().splitlines()] if file.exists() else []


def _json(file: Path) -> Any:
    return json.loads(file.read_bytes()) if file.exists() else None
