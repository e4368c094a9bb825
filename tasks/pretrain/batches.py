"""Packed batches out of memory-mapped token files, in an order that is a pure function of seed and step.

The tokens of a file are cut into blocks of `seq_len`; the last block of a file is padded. Blocks are visited in a
permutation of each epoch that is computed, not stored. Sequence n of the global batch of step t is the same whatever
the number of processes, so that a run may go on with more or fewer of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.core.errors import ConfigError, DataError

Ints = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

IGNORE = -100
"""The label of a position that has no next token: the last of a file, and padding."""
SAMPLE = 1000
"""Documents of a file that are looked at before it is trusted."""


@dataclass(frozen=True)
class TokenFile:
    """One tokens.bin with its index of documents, memory-mapped."""

    folder: Path
    tokens: npt.NDArray[Any]
    index: Ints
    vocab_size: int
    eos_id: int

    @classmethod
    def open(cls, folder: Path) -> TokenFile:
        """Map tokens.bin, index.npy and meta.json; raises `DataError` naming the file that does not fit."""
        try:
            meta = json.loads((folder / "meta.json").read_text())
            dtype = np.dtype(str(meta["dtype"])).newbyteorder("<")
            index = np.load(folder / "index.npy", allow_pickle=False).astype(np.int64)
            total, size = int(meta["tokens"]), (folder / "tokens.bin").stat().st_size
            vocab, eos = int(meta["vocab_size"]), int(meta["eos_id"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"{folder} is not a shard of tokens: {error}; make it again with tokenize_shard") from error
        if size != total * dtype.itemsize or not len(index) or int(index[-1]) != total:
            raise DataError(
                f"{folder}/tokens.bin has {size} bytes, its index ends at token {index[-1:]} "
                f"and meta.json says {total} tokens: make it again with tokenize_shard"
            )
        tokens = np.memmap(folder / "tokens.bin", dtype=dtype, mode="r") if total else np.zeros(0, dtype)
        if any(int(tokens[end - 1]) != eos for end in index[1:SAMPLE]):
            raise DataError(f"{folder}: a document does not end with token {eos}: make it again with tokenize_shard")
        return cls(folder, tokens, index, vocab, eos)

    def block(self, number: int, seq_len: int) -> tuple[Ints, Ints, Ints]:
        """(ids, position_ids, labels), each [seq_len].

        The token that ends a document is its last label and the first input of the next one: each document is read as
        [eos, d1 … dn] with labels [d1 … dn, eos]. Positions restart there, and at the start of the block.
        """
        start = number * seq_len
        end = min(start + seq_len, len(self.tokens))
        ids = np.full(seq_len, self.eos_id, np.int64)
        labels = np.full(seq_len, IGNORE, np.int64)
        taken = self.tokens[start : end + 1]
        ids[: end - start] = taken[: end - start]
        labels[: len(taken) - 1] = taken[1:]
        first, last = np.searchsorted(self.index, (start + 1, end), side="right")
        begins = np.zeros(seq_len, np.int64)
        ends = self.index[first:last] - 1 - start
        begins[ends] = ends
        begins[end - start :] = np.arange(end - start, seq_len)
        return ids, np.arange(seq_len) - np.maximum.accumulate(begins), labels


@dataclass(frozen=True)
class Source:
    """The blocks of some token files, numbered through."""

    files: tuple[TokenFile, ...]
    seq_len: int

    @cached_property
    def ends(self) -> Ints:
        """The number of blocks up to and with each file."""
        return np.cumsum([-(-len(file.tokens) // self.seq_len) for file in self.files], dtype=np.int64)

    @property
    def blocks(self) -> int:
        """How many blocks there are."""
        return int(self.ends[-1]) if len(self.files) else 0

    def block(self, number: int) -> tuple[Ints, Ints, Ints]:
        """Block `number` as (ids, position_ids, labels)."""
        which = int(np.searchsorted(self.ends, number, side="right"))
        before = int(self.ends[which - 1]) if which else 0
        return self.files[which].block(number - before, self.seq_len)

    def batch(self, numbers: Sequence[int] | Ints) -> tuple[Ints, Ints, Ints]:
        """Blocks stacked: three arrays [len(numbers), seq_len]."""
        rows = [self.block(int(number)) for number in numbers]
        return np.stack([r[0] for r in rows]), np.stack([r[1] for r in rows]), np.stack([r[2] for r in rows])


def _mix(words: Words, key: int) -> Words:
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
            left, right = right, left ^ (_mix(right, key * 6 + turn) & mask)
        result[outside] = (left << shift) | right
        outside = result >= size
    return result.astype(np.int64)


@dataclass(frozen=True)
class Order:
    """Which blocks the global batch of a step takes: `counts[s]` from source s, which has `sizes[s]` blocks."""

    sizes: tuple[int, ...]
    counts: tuple[int, ...]
    seed: int
    start: tuple[int, ...]
    """Blocks of each source that earlier segments took."""
    names: tuple[str, ...] = ()
    seq_len: int = 0

    def batch(self, step: int) -> list[tuple[int, int]]:
        """(source, block) of every sequence of step `step` (from 0)."""
        picks: list[tuple[int, int]] = []
        for source, (size, count, start) in enumerate(zip(self.sizes, self.counts, self.start, strict=True)):
            places = start + step * count + np.arange(count, dtype=np.int64)
            blocks = np.empty(count, np.int64)
            for epoch in np.unique(places // size):
                inside = places // size == epoch
                key = (self.seed * 1_000_003 + source) * 1_000_003 + int(epoch)
                blocks[inside] = permute(places[inside] % size, size, key)
            picks.extend((source, int(block)) for block in blocks)
        return picks

    def share(self, step: int, rank: int, world: int) -> list[tuple[int, int]]:
        """The part of a step's batch that process `rank` of `world` computes."""
        picks = self.batch(step)
        size = len(picks) // world
        return picks[rank * size : (rank + 1) * size]

    def record(self, steps: int) -> dict[str, Any]:
        """All of the loader's state after `steps` steps: what it reads, and how many blocks it took of each source."""
        ends = (start + steps * count for start, count in zip(self.start, self.counts, strict=True))
        sizes = dict(zip(self.names, self.sizes, strict=True))
        taken = dict(zip(self.names, ends, strict=True))
        return {"seed": self.seed, "seq_len": self.seq_len, "sizes": sizes, "taken": taken}

    def after(self, record: Mapping[str, Any]) -> Order:
        """The same order, going on where `record` stopped if that read the same blocks: none is shown twice early."""
        mine = self.record(0)
        if any(record.get(name) != mine[name] for name in ("seed", "seq_len", "sizes")):
            return self
        return replace(self, start=tuple(record["taken"][name] for name in self.names))


def apportion(weights: Mapping[str, float], sequences: int) -> dict[str, int]:
    """Whole sequences of a batch for each source, by largest remainder.

    Raises `ConfigError` when a source would get none.
    """
    total = sum(weights.values())
    exact = {name: sequences * weight / total for name, weight in weights.items()}
    counts = {name: int(share) for name, share in exact.items()}
    for name in sorted(exact, key=lambda name: (counts[name] - exact[name], name))[: sequences - sum(counts.values())]:
        counts[name] += 1
    for name, count in counts.items():
        if not count:
            raise ConfigError(
                f"segment.mixture: {name}={weights[name]} gives less than one of the batch's {sequences} sequences: "
                "raise batch_tokens or its weight"
            )
    return counts


def open_sources(folders: Mapping[str, Sequence[Path]], seq_len: int) -> dict[str, Source]:
    """The token files of each source; raises `DataError` without tokens or when the vocabularies differ."""
    sources = {
        name: Source(tuple(TokenFile.open(folder) for folder in items), seq_len) for name, items in folders.items()
    }
    vocabularies = {(f.vocab_size, f.eos_id): f.folder for source in sources.values() for f in source.files}
    if len(vocabularies) > 1:
        named = "; ".join(f"{folder}: {size} tokens, end {eos}" for (size, eos), folder in vocabularies.items())
        raise DataError(f"the shards were made with different tokenizers ({named}): tokenize all with one")
    for name, source in sources.items():
        if not source.blocks:
            raise DataError(f"source {name!r} has no tokens at all: see the rejects of its shards, or leave it out")
    if not sources:
        raise DataError("there are no shards of tokens to train on")
    return sources
