"""Metrics: what each is for people, and their values as evaluations and trainings write them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.core import number_format

ENDS = ("_lo", "_hi")
"""Behind a metric's name: the ends of its interval."""


@dataclass(frozen=True)
class Metric:
    """A measure as people know it. A part of it, as of one source, is written NAME/PART."""

    name: str
    label: str
    """As a reader says it."""
    higher_is_better: bool | None = None
    """None where neither is."""
    unit: str = ""

    @property
    def title(self) -> str:
        """The label, and the unit where that is not in it."""
        return self.label if self.unit in self.label else f"{self.label} ({self.unit})"

    @property
    def better(self) -> str:
        """higher or lower; empty where neither is better."""
        return {True: "higher", False: "lower", None: ""}[self.higher_is_better]


VALID_LOSS = Metric("valid_loss", "valid loss", False, "nats per token")
LOSS = Metric("loss", "loss", False, "nats per token")
OF_TRAINING = (VALID_LOSS, LOSS)
"""What stands for a training, the first that it has."""
BITS_PER_BYTE = Metric("bits_per_byte", "bits per byte", False, "bits per byte")
PERPLEXITY = Metric("perplexity", "perplexity", False)
NATS_PER_BYTE = Metric("nats_per_byte", "nats per byte", False, "nats per byte")
NATS = Metric("nats", "loss in nats", False, "per item")


@dataclass(frozen=True)
class Value:
    """A measured value and the ends of its interval."""

    value: float
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        return f"{number_format.number(self.value)} {number_format.interval(self.low, self.high)}".strip()


def values(metrics: Mapping[str, Any]) -> dict[str, Value]:
    """What was written, `x_lo` and `x_hi` with the `x` that they belong to."""
    return {
        name: Value(float(value), metrics.get(f"{name}_lo"), metrics.get(f"{name}_hi"))
        for name, value in metrics.items()
        if not name.endswith(ENDS)
    }


def valued(metrics: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A metric's value, with low and high where there is an interval, as JSON."""
    return {"value": metrics[name], "low": metrics.get(f"{name}_lo"), "high": metrics.get(f"{name}_hi")}
