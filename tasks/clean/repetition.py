"""How much of a text its repeated n-grams make up (Gopher: Rae et al. 2021, appendix A.1.1).

Shares are in bytes of the text with each run of white space as one byte: a word counts with the space behind it. Of a
text that is mostly in a script without spaces an n-gram is as many letters as say as much.
"""

from __future__ import annotations

from collections.abc import Callable

import numba
import numpy as np

from tasks.text.words import Hashes, Offsets, Runs, Shares, letters_per_word

_BASE = np.uint64(0x9E3779B97F4A7C15)


def top_share(words: Runs, size: int) -> Shares:
    """Of each document, the share in the n-gram of `size` words that occurs most often, of several the first.

    0 where none occurs twice. Occurrences that overlap count in full, up to 1.
    """
    return np.minimum(_shares(_top, words, size), 1)


def duplicate_share(words: Runs, size: int) -> Shares:
    """Of each document, the share in n-grams of `size` words that repeat an earlier one; no word counts twice."""
    return _shares(_duplicate, words, size)


def _shares(count: Callable[..., Offsets], words: Runs, size: int) -> Shares:
    assert words.sizes is not None
    spaces = 1 if words.single is None else ~words.single
    ends = np.concatenate(([0], np.cumsum(words.sizes + spaces)))
    sizes = np.ceil(letters_per_word(words) * size).astype(np.int64)
    counted = count(words.values, ends, words.starts, sizes, _slots(int(words.lengths.max(initial=0))))
    return counted / np.maximum(np.diff(ends[words.starts]), 1)


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
def _top(values: Hashes, ends: Offsets, starts: Offsets, sizes: Offsets, most_slots: int) -> Offsets:
    """Bytes of each document in the n-gram that occurs most often; word i ends before byte ends[i + 1]."""
    keys, owners = np.empty(most_slots, np.uint64), np.zeros(most_slots, np.int64)
    counts, firsts = np.empty(most_slots, np.int64), np.empty(most_slots, np.int64)
    counted = np.zeros(len(starts) - 1, np.int64)
    for document in range(len(starts) - 1):
        size, slots = sizes[document], _slots(starts[document + 1] - starts[document])
        most, top = 1, -1
        for first in range(starts[document], starts[document + 1] - size + 1):
            gram = _gram(values, first, size)
            slot = _find(keys, owners, document + 1, gram, slots)
            if owners[slot] != document + 1:
                owners[slot], keys[slot], counts[slot], firsts[slot] = document + 1, gram, 1, first
                continue
            counts[slot] += 1
            if counts[slot] > most or (counts[slot] == most and firsts[slot] < top):
                most, top = counts[slot], firsts[slot]
        if top >= 0:
            counted[document] = most * (ends[top + size] - ends[top])
    return counted


@numba.njit(cache=True)
def _duplicate(values: Hashes, ends: Offsets, starts: Offsets, sizes: Offsets, most_slots: int) -> Offsets:
    """Bytes of each document in n-grams that repeat an earlier one."""
    keys, owners = np.empty(most_slots, np.uint64), np.zeros(most_slots, np.int64)
    counted = np.zeros(len(starts) - 1, np.int64)
    for document in range(len(starts) - 1):
        size, slots = sizes[document], _slots(starts[document + 1] - starts[document])
        covered = starts[document]
        for first in range(starts[document], starts[document + 1] - size + 1):
            gram = _gram(values, first, size)
            slot = _find(keys, owners, document + 1, gram, slots)
            if owners[slot] != document + 1:
                owners[slot], keys[slot] = document + 1, gram
                continue
            counted[document] += ends[first + size] - ends[max(first, covered)]
            covered = first + size
    return counted
