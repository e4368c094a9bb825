"""How a metric that models are compared by is made from items: a function of sums over them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from tasks.evaluate.bootstrap import Floats
from tasks.formats import metrics
from tasks.formats.metrics import Metric


@dataclass(frozen=True)
class ItemMetric:
    """A metric as a function of sums over items."""

    metric: Metric
    needs: tuple[str, ...]
    """The columns of the items that it is made from."""
    columns: Callable[[pl.DataFrame], Floats]
    """Items → (items, k)."""
    value: Callable[[Floats], Floats]
    """Sums (…, k) → values (…)."""

    @property
    def name(self) -> str:
        """The metric's."""
        return self.metric.name

    @property
    def higher_is_better(self) -> bool:
        """Whether more of it is better."""
        return bool(self.metric.higher_is_better)


def ratio(items: pl.DataFrame, over: str, under: pl.Expr) -> Floats:
    """(items, 2): what `mean` divides once it is summed."""
    return items.select(pl.col(over).cast(pl.Float64).alias("over"), under.alias("under")).to_numpy()


def mean(sums: Floats) -> Floats:
    """From sums (…, 2) of values and of what they are divided by."""
    result: Floats = sums[..., 0] / sums[..., 1]
    return result


def bits_per_byte(sums: Floats) -> Floats:
    """From sums (…, 3) of nats, bytes and tokens."""
    result: Floats = sums[..., 0] / (math.log(2) * sums[..., 1])
    return result


def perplexity(sums: Floats) -> Floats:
    """Of a token, the end-of-text tokens among them; from sums (…, 3) of nats, bytes and tokens."""
    result: Floats = np.exp(sums[..., 0] / sums[..., 2])
    return result


BITS_PER_BYTE = ItemMetric(
    metrics.BITS_PER_BYTE, ("nats", "bytes"), lambda items: ratio(items, "nats", pl.col("bytes") * math.log(2)), mean
)
"""Of texts: how many bits the model needs for a byte."""
NATS = ItemMetric(metrics.NATS, ("nats",), lambda items: ratio(items, "nats", pl.lit(1.0)), mean)
"""Mean loss of an item."""
