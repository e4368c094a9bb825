"""The tokens of one memory-mapped file cut into blocks of `seq_len`, by one of two packings.

Both keep the boundaries of documents: positions restart at each one, which isolates them in attention. A batch of
blocks is three arrays [blocks, seq_len]: ids, position_ids and labels. A place without a next token has the label
IGNORE and position 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from tasks.formats.tokens import IGNORE, Ints, TokenFile

Batch = tuple[Ints, Ints, Ints]


class Blocks(Protocol):
    """What a packing makes of a file."""

    @property
    def count(self) -> int:
        """How many blocks there are."""

    def batch(self, numbers: Ints) -> Batch:
        """Blocks `numbers`, stacked."""

    def documents(self, number: int) -> Ints:
        """The documents that block `number` has tokens of, counted from 0 in the file."""


@dataclass(frozen=True)
class Concatenated:
    """Documents one after another; a block may begin in the middle of one. Only the last block has padding.

    The token that ends a document is its last label and the first input of the next one: each document is read as
    [eos, d1 … dn] with labels [d1 … dn, eos].
    """

    file: TokenFile
    seq_len: int

    @property
    def count(self) -> int:
        """How many blocks there are."""
        return -(-len(self.file.tokens) // self.seq_len)

    def batch(self, numbers: Ints) -> Batch:
        """Blocks `numbers`, stacked."""
        width, tokens = self.seq_len, np.asarray(self.file.tokens)
        whole = max(len(tokens) - 1, 0) // width  # blocks in which every token has a next one
        grid, following = (tokens[shift : whole * width + shift].reshape(-1, width) for shift in (0, 1))
        rows = numbers < whole
        if rows.all():
            ids, labels = grid[numbers].astype(np.int64), following[numbers].astype(np.int64)
        else:
            shape, rest = (len(numbers), width), tokens[whole * width :]
            ids, labels = np.full(shape, self.file.eos_id, np.int64), np.full(shape, IGNORE, np.int64)
            ids[rows], labels[rows] = grid[numbers[rows]], following[numbers[rows]]
            ids[~rows, : len(rest)] = rest[:width]
            labels[~rows, : len(rest) - 1] = rest[1:]
        # eos stands at the end of a document and nowhere else: no text is given that id.
        starts = np.union1d(np.flatnonzero(ids.ravel() == self.file.eos_id), np.arange(0, ids.size, width))
        sizes = np.diff(starts, append=ids.size)
        positions: Ints = (np.arange(ids.size) - np.repeat(starts, sizes)).reshape(ids.shape)
        return ids, positions, labels

    def documents(self, number: int) -> Ints:
        """The documents that block `number` has tokens of, the label after its last one included."""
        first, last = number * self.seq_len, min((number + 1) * self.seq_len, len(self.file.tokens) - 1)
        begins, ends = np.searchsorted(self.file.index, [first, last], side="right") - 1
        return np.arange(begins, ends + 1)


def best_fit(lengths: Ints, capacity: int) -> tuple[Ints, int]:
    """The bin of each item, and how many bins: best-fit decreasing into bins of `capacity`.

    Items of equal length keep their order. Each item goes where it leaves the least room (Ding et al. 2024, "Fewer
    truncations improve language modeling"); equal lengths and equal rooms are dealt with at once, so the time is that
    of sorting. Lengths are from 1 to `capacity`, else `ValueError`.
    """
    if len(lengths) and not 1 <= int(lengths.min()) <= int(lengths.max()) <= capacity:
        raise ValueError(f"lengths must be from 1 to {capacity}")
    order = np.argsort(-lengths, kind="stable")
    counts = np.bincount(lengths, minlength=capacity + 1)
    rooms: dict[int, list[Ints]] = {}
    open_rooms, bins, place = 0, 0, 0
    found = np.empty(len(lengths), np.int64)
    for length in np.flatnonzero(counts)[::-1].tolist():
        left = int(counts[length])
        while left:
            fitting = open_rooms >> length
            room = length + (fitting & -fitting).bit_length() - 1 if fitting else capacity
            each = room // length
            wanted = -(-left // each)
            if fitting:
                chosen = rooms[room].pop()
                chosen, rest = chosen[:wanted], chosen[wanted:]
                if len(rest):
                    rooms[room].append(rest)
                if not rooms[room]:
                    open_rooms &= ~(1 << room)
            else:
                chosen = np.arange(bins, bins + wanted)
                bins += wanted
            taken = min(left, each * len(chosen))
            found[order[place : place + taken]] = np.repeat(chosen, each)[:taken]
            place, left = place + taken, left - taken
            full, over = divmod(taken, each)
            for some, used in ((chosen[:full], each), (chosen[full:], over)):
                if len(some) and (still := room - used * length):
                    rooms.setdefault(still, []).append(some)
                    open_rooms |= 1 << still
    return found, bins


@dataclass(frozen=True)
class BestFit:
    """Whole documents put together so that little room is left; only one longer than a block is cut.

    A piece of a document is read as [the token before it, d1 … dn-1] with labels [d1 … dn]; before a document stands
    eos. Every token of the file is a label once.
    """

    file: TokenFile
    seq_len: int

    @cached_property
    def _pieces(self) -> tuple[Ints, Ints, Ints]:
        """Start and length of each piece, block by block, each block's last being its padding, which may have length
        0; and the number of pieces before each block, and of all."""
        lengths = np.diff(self.file.index)
        parts = -(-lengths // self.seq_len)
        inside = np.arange(int(parts.sum())) - np.repeat(np.cumsum(parts) - parts, parts)
        starts = np.repeat(self.file.index[:-1], parts) + inside * self.seq_len
        sizes = np.minimum(np.repeat(self.file.index[1:], parts) - starts, self.seq_len)
        bins, count = best_fit(sizes, self.seq_len)
        room = self.seq_len - np.bincount(bins, weights=sizes, minlength=count).astype(np.int64)
        bins = np.concatenate([bins, np.arange(count)])
        order = np.argsort(bins, kind="stable")
        before = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(bins, minlength=count))])
        starts, sizes = np.concatenate([starts, np.zeros(count, np.int64)]), np.concatenate([sizes, room])
        return starts[order], sizes[order], before

    @property
    def count(self) -> int:
        """How many blocks there are."""
        return len(self._pieces[2]) - 1

    def batch(self, numbers: Ints) -> Batch:
        """Blocks `numbers`, stacked."""
        starts, sizes, before = self._pieces
        many = before[numbers + 1] - before[numbers]
        piece = np.arange(int(many.sum())) + np.repeat(before[numbers] - np.cumsum(many) + many, many)
        start, size = starts[piece], sizes[piece]
        done = np.cumsum(size) - size
        running, shape = np.arange(len(numbers) * self.seq_len), (len(numbers), self.seq_len)
        source = running + np.repeat(start - done, size)
        tokens = np.asarray(self.file.tokens)
        labels = tokens.take(source, mode="wrap").astype(np.int64).reshape(shape)
        # Before the first token of all stands, wrapped around, the last one, which is an eos.
        ids = tokens.take(source - 1, mode="wrap").astype(np.int64).reshape(shape)
        positions = (running - np.repeat(done, size)).reshape(shape)
        padding = sizes[before[numbers + 1] - 1]
        for row in np.flatnonzero(padding):
            padded = slice(self.seq_len - int(padding[row]), None)
            ids[row, padded], positions[row, padded], labels[row, padded] = self.file.eos_id, 0, IGNORE
        return ids, positions, labels

    def documents(self, number: int) -> Ints:
        """The documents that block `number` has tokens of."""
        starts, sizes, before = self._pieces
        pieces = slice(before[number], before[number + 1])
        starts = starts[pieces][sizes[pieces] > 0][: before[number + 1] - before[number] - 1]
        return np.sort(np.searchsorted(self.file.index, starts, side="right") - 1)


PACKINGS: dict[str, type[Concatenated] | type[BestFit]] = {"concat": Concatenated, "best_fit": BestFit}
