"""Hashes of words and of runs of words, for whole columns at once.

A text is a sequence of words separated by white space. Hashes are the same on every machine and in every version:
prefix sums of a polynomial over the bytes, modulo 2**64, then a mixing round of SplitMix64 (Steele et al. 2014).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Offsets = NDArray[np.int64]
Shares = NDArray[np.float64]

_BASE = 0x9E3779B97F4A7C15
_BASE_INVERSE = pow(_BASE, -1, 2**64)
_BLOCK = 1 << 17
"""Bytes hashed at a time: they stay in the processor's cache."""
_SPACES = np.isin(np.arange(256), [9, 10, 11, 12, 13, 32])
_WIDE_SPACE = "[\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"


@dataclass(frozen=True)
class Runs:
    """Hashes of all documents in one array; document i has values[starts[i]:starts[i + 1]]."""

    values: Hashes
    starts: Offsets
    sizes: Offsets | None = None
    """Bytes of each word, where the hashes are those of words."""

    @property
    def lengths(self) -> Offsets:
        """How many hashes each document has."""
        return np.diff(self.starts)

    @property
    def owners(self) -> Offsets:
        """The document of each hash."""
        return np.repeat(np.arange(len(self.starts) - 1), self.lengths)


def mix(values: Hashes) -> Hashes:
    """The finaliser of SplitMix64: every bit of the input changes half of the output's."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _powers(base: int, count: int) -> Hashes:
    factors = np.full(count, base, dtype=np.uint64)
    factors[:1] = 1
    return np.multiply.accumulate(factors)


def collapse(texts: pl.Series) -> pl.Series:
    """Every run of white space becomes one space; none at the ends."""
    # Single spaces, nearly all there is, are left alone: it takes half the time of replacing every run.
    return texts.str.replace_all(r"\s{2,}|[^\S ]", " ").str.strip_chars(" ")


def plain_spaces(texts: pl.Series) -> pl.Series:
    """Every white-space character beyond ASCII becomes a space."""
    return texts.str.replace_all(_WIDE_SPACE, " ")


def word_hashes(texts: pl.Series) -> Runs:
    """Hash every word: every run of bytes that are no ASCII white space (see `plain_spaces` and `collapse`)."""
    joined = (pl.select(texts.fill_null("") + " ").to_series()) if len(texts) else texts
    sizes = joined.str.len_bytes().to_numpy().astype(np.int64)
    data = np.frombuffer("".join(joined.to_list()).encode(), dtype=np.uint8)
    ends = np.flatnonzero(_SPACES[data])
    begins = np.concatenate(([0], ends + 1))[:-1]
    real = ends > begins
    begins, ends = begins[real], ends[real]
    hashes = np.empty(len(ends), np.uint64)
    first = 0
    while first < len(ends):
        last = max(first + 1, int(np.searchsorted(ends, begins[first] + _BLOCK, side="right")))
        low, high = begins[first], ends[last - 1]
        hashes[first:last] = _hash(data[low:high], begins[first:last] - low, ends[first:last] - low)
        first = last
    starts = np.searchsorted(ends, np.concatenate(([0], np.cumsum(sizes))))
    return Runs(mix(hashes), starts.astype(np.int64), ends - begins)


def _hash(data: NDArray[np.uint8], begins: Offsets, ends: Offsets) -> Hashes:
    powers, inverses = _powers_both_ways(max(_BLOCK, len(data)))
    values = data.astype(np.uint64)
    values += np.uint64(1)
    values *= powers[: len(data)]
    prefix = np.zeros(len(data) + 1, np.uint64)
    np.cumsum(values, out=prefix[1:])
    hashes: Hashes = (prefix[ends] - prefix[begins]) * inverses[begins]
    return hashes


@lru_cache(maxsize=1)
def _powers_both_ways(count: int) -> tuple[Hashes, Hashes]:
    return _powers(_BASE, count), _powers(_BASE_INVERSE, count)


def word_bytes(words: Runs) -> Offsets:
    """Bytes of each document's words together."""
    assert words.sizes is not None
    ends = np.concatenate(([0], np.cumsum(words.sizes)))
    return np.diff(ends[words.starts])


def longest(words: Runs) -> Offsets:
    """Bytes of each document's longest word, 0 where there is none."""
    most = np.zeros(len(words.lengths), np.int64)
    if words.sizes is not None:
        np.maximum.at(most, words.owners, words.sizes)
    return most


def ngrams(words: Runs, size: int) -> Runs:
    """Hash every run of `size` words; a document with fewer words has one n-gram, all of it (none if it is empty)."""
    counts = words.lengths
    grams = np.where(counts >= size, counts - size + 1, np.minimum(counts, 1))
    starts = np.concatenate(([0], np.cumsum(grams)))
    weights = _powers(_BASE, size + 1)[1:]
    rolled = np.zeros(len(words.values), np.uint64)
    for place, weight in enumerate(weights):
        rolled[: max(0, len(rolled) - place)] += words.values[place:] * weight
    total = rolled[np.arange(starts[-1]) + np.repeat(words.starts[:-1] - starts[:-1], grams)]
    short = np.flatnonzero((counts > 0) & (counts < size))
    if len(short):
        begins = np.cumsum(counts[short]) - counts[short]
        inside = np.arange(int(counts[short].sum())) - np.repeat(begins, counts[short])
        value = words.values[np.repeat(words.starts[short], counts[short]) + inside]
        total[starts[short]] = np.add.reduceat(value * weights[inside], begins)
    return Runs(mix(total), starts)


def repeats(runs: Runs) -> Offsets:
    """How many of each document's hashes repeat an earlier one of the same document.

    Sorts document number and the hashes' upper bits as one integer; takes at most 2**20 documents.
    """
    owners = runs.owners
    keys = (owners.astype(np.uint64) << np.uint64(44)) | (runs.values >> np.uint64(20))
    keys.sort()
    again = keys[1:][keys[1:] == keys[:-1]] >> np.uint64(44)
    return np.bincount(again.astype(np.int64), minlength=len(runs.lengths)).astype(np.int64)
