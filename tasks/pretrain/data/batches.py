"""Packed batches out of memory-mapped token files, in an order that is a pure function of seed and step.

Blocks are visited in a permutation of each epoch that is computed, not stored. Sequence n of the global batch of step t
is the same whatever the number of processes, so that a run may go on with more or fewer of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from tasks.core.errors import DataError
from tasks.formats.tokens import Ints, TokenFile
from tasks.pretrain.data.mixture import given
from tasks.pretrain.data.packing import PACKINGS, Batch, Blocks

Words = npt.NDArray[np.uint64]

TOGETHER = 32
"""Steps whose blocks are found together, for speed."""


@dataclass(frozen=True)
class Source:
    """The blocks of some token files, numbered through."""

    files: tuple[TokenFile, ...]
    seq_len: int
    packing: str = "concat"

    @cached_property
    def packed(self) -> tuple[Blocks, ...]:
        """The blocks of each file, which do not depend on other files."""
        return tuple(PACKINGS[self.packing](file, self.seq_len) for file in self.files)

    @cached_property
    def ends(self) -> Ints:
        """The number of blocks up to and with each file."""
        return np.cumsum([packed.count for packed in self.packed], dtype=np.int64)

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return int(self.ends[-1]) if len(self.files) else 0

    @property
    def tokens(self) -> int:
        """How many tokens the files have."""
        return sum(len(file.tokens) for file in self.files)

    def batch(self, numbers: Sequence[int] | Ints) -> Batch:
        """Blocks `numbers`, stacked: three arrays [len(numbers), seq_len]."""
        numbers = np.asarray(numbers, np.int64)
        which = np.searchsorted(self.ends, numbers, side="right")
        found = np.unique(which)
        if len(found) == 1:
            return self._of(int(found[0]), numbers)
        ids, positions, labels = (np.empty((len(numbers), self.seq_len), np.int64) for _ in range(3))
        for file in found.tolist():
            rows = which == file
            ids[rows], positions[rows], labels[rows] = self._of(file, numbers[rows])
        return ids, positions, labels

    def whose(self, number: int) -> tuple[Path, int, Ints]:
        """Of a block: the folder of its file, its number there, and its documents' numbers there."""
        file = int(np.searchsorted(self.ends, number, side="right"))
        inside = number - (int(self.ends[file - 1]) if file else 0)
        return self.files[file].folder, inside, self.packed[file].documents(inside)

    def _of(self, file: int, numbers: Ints) -> Batch:
        return self.packed[file].batch(numbers - (int(self.ends[file - 1]) if file else 0))


def padding(sources: Iterable[Source]) -> float:
    """The share of places that hold no token, over all blocks, 0 to 1."""
    places, tokens = 0, 0
    for source in sources:
        places, tokens = places + source.blocks * source.seq_len, tokens + source.tokens
    return 1 - tokens / places


def mix(words: Words, key: int) -> Words:
    """splitmix64's finaliser (Steele, Lea, Flood 2014)."""
    words = words + np.uint64((key * 0x9E3779B97F4A7C15 + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF)
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def permute(numbers: Ints, size: int, key: int) -> Ints:
    """A pseudo-random permutation of range(size), evaluated at `numbers`: a Feistel network with cycle walking.

    No table is kept, so the order of a billion sequences costs nothing (Black and Rogaway, 2002).
    """
    half = max(1, math.ceil(max(1, (size - 1).bit_length()) / 2))
    mask, shift = np.uint64((1 << half) - 1), np.uint64(half)
    result = numbers.astype(np.uint64)
    outside = np.ones(len(result), bool)
    while outside.any():
        left, right = result[outside] >> shift, result[outside] & mask
        for turn in range(6):
            left, right = right, left ^ (mix(right, key * 6 + turn) & mask)
        result[outside] = (left << shift) | right
        outside = result >= size
    return result.astype(np.int64)


@dataclass(frozen=True)
class Order:
    """Which blocks the global batch of a step takes: of each sum(counts) sequences, over all batches, `counts[s]` are
    from source s, which has `sizes[s]` blocks."""

    sizes: tuple[int, ...]
    counts: tuple[int, ...]
    seed: int
    start: tuple[int, ...]
    """Blocks of each source that earlier segments took."""
    names: tuple[str, ...] = ()
    seq_len: int = 0
    packing: str = "concat"
    sequences: int = 0
    """Sequences in a batch; 0: as many as the counts add up to."""

    def taken(self, steps: Ints) -> Ints:
        """How many blocks of each source the first `steps` steps take: an array [len(steps), sources]."""
        return given(self.counts, steps * (self.sequences or sum(self.counts)))

    def batch(self, step: int) -> list[tuple[int, int]]:
        """(source, block) of every sequence of step `step` (from 0)."""
        sources, blocks = _walked(self, step // TOGETHER)
        row = step % TOGETHER
        return list(zip(sources[row].tolist(), blocks[row].tolist(), strict=True))

    def walk(self, first: int, steps: int) -> tuple[Ints, Ints]:
        """The source and the block of every sequence of `steps` steps: two arrays [steps, sequences]."""
        taken = self.taken(first + np.arange(steps + 1, dtype=np.int64))
        each = np.diff(taken, axis=0)
        sources = np.repeat(np.tile(np.arange(len(self.sizes)), steps), each.ravel())
        blocks = np.empty(len(sources), np.int64)
        for source, (size, start) in enumerate(zip(self.sizes, self.start, strict=True)):
            places = start + np.arange(taken[0, source], taken[-1, source], dtype=np.int64)
            found = np.empty(len(places), np.int64)
            for epoch in np.unique(places // size):
                inside = places // size == epoch
                key = (self.seed * 1_000_003 + source) * 1_000_003 + int(epoch)
                found[inside] = permute(places[inside] % size, size, key)
            blocks[sources == source] = found
        return sources.reshape(steps, -1), blocks.reshape(steps, -1)

    def share(self, steps: Iterable[int], rank: int, world: int) -> list[tuple[int, int]]:
        """The part that process `rank` of `world` computes of a batch, that of one step or of several together."""
        picks = [pick for step in steps for pick in self.batch(step)]
        size = len(picks) // world
        return picks[rank * size : (rank + 1) * size]

    def record(self, steps: int) -> dict[str, Any]:
        """All of the loader's state after `steps` steps: what it reads, and how many blocks it took of each source."""
        ends = np.array(self.start) + self.taken(np.array([steps]))[0]
        return {**self._read(), "taken": dict(zip(self.names, ends.tolist(), strict=True))}

    def _read(self) -> dict[str, Any]:
        sizes = dict(zip(self.names, self.sizes, strict=True))
        return {"seed": self.seed, "seq_len": self.seq_len, "packing": self.packing, "sizes": sizes}

    def after(self, record: Mapping[str, Any]) -> Self:
        """The same order, going on where `record` stopped if that read the same blocks: none is shown twice early."""
        if {name: value for name, value in record.items() if name != "taken"} != self._read():
            return self
        return replace(self, start=tuple(record["taken"][name] for name in self.record(0)["taken"]))


@dataclass(frozen=True)
class Passes(Order):
    """Every source as often as it is asked for: `counts[s]` blocks of source s in all batches together, mixed evenly.

    The batches are one walk, in a permuted order, over all passes of all sources; of a pass that is not whole a part
    of the blocks is taken. `start` is one number: the blocks that earlier segments took of this walk.
    """

    @property
    def total(self) -> int:
        """Blocks of the whole walk."""
        return sum(self.counts)

    def walk(self, first: int, steps: int) -> tuple[Ints, Ints]:
        """The source and the block of every sequence of `steps` steps: two arrays [steps, sequences]."""
        places = self.start[0] + first * self.sequences + np.arange(steps * self.sequences, dtype=np.int64)
        walked = np.empty(len(places), np.int64)
        for walk in np.unique(places // self.total):
            inside = places // self.total == walk
            key = (self.seed * 1_000_003 + len(self.sizes)) * 1_000_003 + int(walk)
            walked[inside] = permute(places[inside] % self.total, self.total, key)
        ends = np.cumsum(self.counts)
        sources = np.searchsorted(ends, walked, side="right")
        blocks = np.empty(len(places), np.int64)
        for source in np.unique(sources):
            rows, size = sources == source, self.sizes[source]
            inside = (walked[rows] - (ends[source] - self.counts[source])) % size
            blocks[rows] = permute(inside, size, self.seed * 1_000_003 + int(source))
        return sources.reshape(steps, -1), blocks.reshape(steps, -1)

    def record(self, steps: int) -> dict[str, Any]:
        """All of the loader's state after `steps` steps."""
        return {**self._read(), "taken": {"all": self.start[0] + steps * self.sequences}}

    def _read(self) -> dict[str, Any]:
        return {**super()._read(), "passes": dict(zip(self.names, self.counts, strict=True))}


@lru_cache(maxsize=8)
def _walked(order: Order, number: int) -> tuple[Ints, Ints]:
    return order.walk(number * TOGETHER, TOGETHER)


def open_sources(folders: Mapping[str, Sequence[Path]], seq_len: int, packing: str = "concat") -> dict[str, Source]:
    """The token files of each source; raises `DataError` without tokens or when the vocabularies differ."""
    sources = {
        name: Source(tuple(TokenFile.open(folder) for folder in items), seq_len, packing)
        for name, items in folders.items()
    }
    vocabularies = {(f.vocab_size, f.eos_id): f.folder for source in sources.values() for f in source.files}
    if len(vocabularies) > 1:
        named = "; ".join(f"{folder}: {size} tokens, end {eos}" for (size, eos), folder in vocabularies.items())
        raise DataError(f"the shards were made with different tokenizers ({named}): tokenize all with one")
    for name, source in sources.items():
        if not source.blocks:
            raise DataError(
                f"source {name!r} has no tokens at all: `fromzero rejects last` lists what dropped its documents; fix "
                "that, or leave the source out"
            )
    if not sources:
        raise DataError("there are no shards of tokens to train on")
    return sources
