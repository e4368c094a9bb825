"""The distribution of three-byte sequences in a corpus: small, the same for every tokenizer, and sums over shards."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

FILE = "distribution.npy"
BUCKETS = 4096
"""Sequences share a bucket by their hash; 8 bytes each, so 32 kB."""
CHUNK = 1 << 17
"""Bytes that are looked at together: what comes of them fits a processor's cache."""


def count(texts: Iterable[pl.Series]) -> NDArray[np.int64]:
    """How many three-byte sequences of UTF-8 fall into each bucket; none goes from one text into the next.

    It does not depend on the texts' order or batches.
    """
    import numpy as np

    total = np.zeros(BUCKETS, np.int64)
    for series in texts:
        held = series.drop_nulls()
        lengths = held.str.len_bytes().to_numpy().astype(np.int64)
        data = np.frombuffer("".join(held).encode(), np.uint8)
        for start in range(0, data.size - 2, CHUNK):
            part = data[start : start + CHUNK + 2]
            total += _counts(*(part[n : part.size - 2 + n] for n in range(3)))
        ends = np.cumsum(lengths)[:-1]
        across = np.unique(np.concatenate([ends - 2, ends - 1]))
        across = across[(across >= 0) & (across < data.size - 2)]
        total -= _counts(*(data[across + n] for n in range(3)))
    return total


def _counts(first: NDArray[np.uint8], second: NDArray[np.uint8], third: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Counts by bucket: Knuth's multiplicative hash of the three bytes, its upper 12 bits."""
    import numpy as np

    value = first.astype(np.uint32) << 16 | second.astype(np.uint32) << 8 | third
    return np.bincount(value * np.uint32(2654435761) >> np.uint32(20), minlength=BUCKETS)


def write(path: Path, counts: NDArray[np.int64]) -> None:
    """Write counts; the same counts give the same bytes."""
    import numpy as np

    np.save(path, counts, allow_pickle=False)


def read(paths: Iterable[Path]) -> NDArray[np.int64]:
    """The sum of the counts in files."""
    import numpy as np

    return sum((np.load(path, allow_pickle=False) for path in paths), np.zeros(BUCKETS, np.int64))


def divergence(one: NDArray[np.int64], other: NDArray[np.int64]) -> float:
    """Jensen–Shannon divergence (Lin 1991) of two counts in bits: 0 for equal shares, 1 for none in common.

    An empty count is as far as can be from one that is not, and equal to another empty one.
    """
    import numpy as np

    if not one.sum() or not other.sum():
        return float(one.sum() != other.sum())
    p, q = one / one.sum(), other / other.sum()
    middle = (p + q) / 2

    def distance(share: NDArray[np.float64]) -> float:
        held = share > 0
        return float(np.sum(share[held] * np.log2(share[held] / middle[held])))

    return round(min(1.0, max(0.0, (distance(p) + distance(q)) / 2)), 9)
