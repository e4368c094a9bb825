"""What a metric that models are compared by is: a function of sums over items, and which way is better."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import polars as pl

from tasks.evaluate.bootstrap import Floats


@dataclass(frozen=True)
class Metric:
    """A measure as a function of sums over items, and whether more of it is better."""

    name: str
    needs: tuple[str, ...]
    """The columns of items.parquet that it is made from."""
    columns: Callable[[pl.DataFrame], Floats]
    """Items → (items, k)."""
    value: Callable[[Floats], Floats]
    """Sums (…, k) → values (…)."""
    higher_is_better: bool


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


BITS_PER_BYTE = Metric(
    "bits_per_byte", ("nats", "bytes"), lambda items: ratio(items, "nats", pl.col("bytes") * math.log(2)), mean, False
)
"""Of texts: how many bits the model needs for a byte."""
NATS = Metric("nats", ("nats",), lambda items: ratio(items, "nats", pl.lit(1.0)), mean, False)
"""Mean loss of an item."""
