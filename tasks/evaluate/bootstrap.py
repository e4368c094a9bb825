"""Percentile bootstrap intervals over items (Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13).

A metric here is a function of sums over items: resampling items is multiplying their columns with counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
CHUNK = 2_000_000
"""Counts held at once: 16 MB."""


def counts(items: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each resample draws each item: blocks (some resamples, items), `resamples` rows in all."""
    rng = np.random.default_rng(seed)
    block = max(1, CHUNK // max(items, 1))
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = rng.integers(items, size=(rows, items)) + np.arange(rows)[:, None] * items
        yield np.bincount(drawn.ravel(), minlength=rows * items).reshape(rows, items).astype(np.float64)


def resampled_sums(columns: Floats, resamples: int, seed: int) -> Floats:
    """Sums (resamples, k) of the columns (items, k) over each resample of the items."""
    return np.concatenate([drawn @ columns for drawn in counts(len(columns), resamples, seed)])


def interval(values: Floats, confidence: float) -> tuple[float, float]:
    """The central percentile interval of resampled values, those that are not a number left out."""
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return float(low), float(high)


def with_interval(
    name: str, columns: Floats, metric: Callable[[Floats], Floats], resamples: int, seed: int, confidence: float
) -> dict[str, float]:
    """{name, name_lo, name_hi} of `metric`, a function of sums (…, k) over the items' columns (items, k)."""
    low, high = interval(metric(resampled_sums(columns, resamples, seed)), confidence)
    return {name: float(metric(columns.sum(axis=0))), f"{name}_lo": low, f"{name}_hi": high}
