"""How much of a text its repeated n-grams make up (Gopher: Rae et al. 2021, appendix A.1.1).

Shares are in bytes of the text with each run of white space as one byte: a word counts with the space behind it.
"""

from __future__ import annotations

import numba
import numpy as np

from tasks.clean.words import Hashes, Offsets, Runs, Shares

_BASE = np.uint64(0x9E3779B97F4A7C15)


def top_share(words: Runs, size: int) -> Shares:
    """Of each document, the share in the n-gram of `size` words that occurs most often, of several the first.

    0 where none occurs twice. Occurrences that overlap count in full, up to 1.
    """
    assert words.sizes is not None
    return np.asarray(_top(words.values, words.sizes, words.starts, size))


def duplicate_share(words: Runs, size: int) -> Shares:
    """Of each document, the share in n-grams of `size` words that repeat an earlier one; no word counts twice."""
    assert words.sizes is not None
    return np.asarray(_duplicate(words.values, words.sizes, words.starts, size))


@numba.njit(cache=True)
def _slots(words: int) -> int:
    """Places of a hash table that is at most half full."""
    slots = 4
    while slots < 2 * words:
        slots *= 2
    return slots


@numba.njit(cache=True)
def _gram(values: Hashes, first: int, size: int) -> np.uint64:
    total = np.uint64(0)
    for place in range(first, first + size):
        total = total * _BASE + values[place]
    return total


@numba.njit(cache=True)
def _find(keys: Hashes, owners: Offsets, owner: int, gram: np.uint64, slots: int) -> int:
    """The place of a gram in the document's table, or the free one where it belongs."""
    mask = np.uint64(slots - 1)
    slot = gram & mask
    while owners[slot] == owner and keys[slot] != gram:
        slot = (slot + np.uint64(1)) & mask
    return int(slot)


@numba.njit(cache=True)
def _top(values: Hashes, sizes: Offsets, starts: Offsets, size: int) -> Shares:
    most_slots = _slots(np.diff(starts).max()) if len(starts) > 1 else 4
    keys, owners = np.empty(most_slots, np.uint64), np.full(most_slots, -1, np.int64)
    counts, firsts = np.empty(most_slots, np.int64), np.empty(most_slots, np.int64)
    shares = np.zeros(len(starts) - 1)
    for document in range(len(starts) - 1):
        begin, end = starts[document], starts[document + 1]
        slots = _slots(end - begin)
        most, top = 1, -1
        for first in range(begin, end - size + 1):
            gram = _gram(values, first, size)
            slot = _find(keys, owners, document, gram, slots)
            if owners[slot] != document:
                owners[slot], keys[slot], counts[slot], firsts[slot] = document, gram, 1, first
                continue
            counts[slot] += 1
            if counts[slot] > most or (counts[slot] == most and firsts[slot] < top):
                most, top = counts[slot], firsts[slot]
        if top >= 0:
            whole = sizes[begin:end].sum() + (end - begin)
            shares[document] = min(1.0, most * (sizes[top : top + size].sum() + size) / whole)
    return shares


@numba.njit(cache=True)
def _duplicate(values: Hashes, sizes: Offsets, starts: Offsets, size: int) -> Shares:
    most_slots = _slots(np.diff(starts).max()) if len(starts) > 1 else 4
    keys, owners = np.empty(most_slots, np.uint64), np.full(most_slots, -1, np.int64)
    shares = np.zeros(len(starts) - 1)
    for document in range(len(starts) - 1):
        begin, end = starts[document], starts[document + 1]
        slots = _slots(end - begin)
        covered, counted = begin, 0
        for first in range(begin, end - size + 1):
            gram = _gram(values, first, size)
            slot = _find(keys, owners, document, gram, slots)
            if owners[slot] != document:
                owners[slot], keys[slot] = document, gram
                continue
            for word in range(max(first, covered), first + size):
                counted += sizes[word] + 1
            covered = first + size
        if counted:
            shares[document] = counted / (sizes[begin:end].sum() + (end - begin))
    return shares
