"""Whether documents are alike: by their signatures where those leave no doubt, else by their shingles themselves.

A signature of 112 hashes tells a Jaccard similarity of .7 give or take .04. What the estimate leaves open is decided by
the sets of shingles, which are made anew from the texts of the documents that may be duplicates of another, and lie on
disk: 4 bytes for each shingle.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from conf.schema.clean import DedupConf
from tasks.clean.columns import ID, Column, Partitions, find, from_hex
from tasks.clean.load_signatures import COMPARED, REPEATED, Documents
from tasks.clean.signatures import shingles
from tasks.clean.union_find import blocks
from tasks.core.errors import DataError
from tasks.formats.documents import PARTS, read_batches

Numbers = NDArray[np.uint32]
Texts = Mapping[str, Callable[[str], Path]]
"""By shard the documents of each part."""

DOUBT = 4
"""Standard errors of an estimate within which it decides nothing: once in 30,000 pairs it is further off."""
_CHUNK = 1 << 14
"""Pairs compared at a time: bounds the memory."""
_VALUES = 1 << 22
"""Shingles compared at a time."""


@dataclass(frozen=True)
class Doubt:
    """Estimates that leave open whether the similarity reaches the threshold: from `low` on, below `high`."""

    low: float
    high: float

    @classmethod
    def of(cls, conf: DedupConf) -> Doubt:
        """Those of signatures of so many hashes: shares of equal ones, which are binomial."""
        error = math.sqrt(conf.threshold * (1 - conf.threshold) / (conf.bands * conf.rows))
        return cls(conf.threshold - DOUBT * error, conf.threshold + DOUBT * error)


class Likeness:
    """Decides on pairs of documents; needs the shingles of all that are asked for."""

    def __init__(self, signatures: Column, sets: Sets, conf: DedupConf) -> None:
        self.signatures, self._sets, self._threshold, self._doubt = signatures, sets, conf.threshold, Doubt.of(conf)

    def alike(self, left: NDArray[Any], right: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether the similarity of each pair of documents reaches the threshold."""
        found = np.empty(len(left), np.bool_)
        for first in range(0, len(left), _CHUNK):
            chunk = slice(first, first + _CHUNK)
            one, other = (self.signatures.take(docs[chunk])["minhash"] for docs in (left, right))
            found[chunk] = self.decided((one == other).mean(axis=1), left[chunk], right[chunk])
        return found

    def decided(self, estimates: NDArray[np.float64], left: NDArray[Any], right: NDArray[Any]) -> NDArray[np.bool_]:
        """The same, where the signatures of the pairs have been compared: the share of equal hashes of each."""
        found: NDArray[np.bool_] = estimates >= self._doubt.high
        open_ = np.flatnonzero((estimates >= self._doubt.low) & ~found)
        found[open_] = self._sets.similarity(left[open_], right[open_]) >= self._threshold
        return found


class Sets:
    """The different shingles of some documents, in two files: their hashes, and where each document's are."""

    def __init__(self, scratch: Path) -> None:
        self._values = scratch / "shingles"
        self._places = Column(scratch / "shingle-places", [("first", "<u8"), ("count", "<u4")])

    def fill(self, documents: Documents, texts: Texts, scratch: Path, conf: DedupConf) -> None:
        """Make the sets of all documents that have the flag `COMPARED`, each from its text in its shard.

        Raises `DataError` if a shard does not hold all that were signed.
        """
        self._values.touch()
        self._places.path.touch()
        os.truncate(self._places.path, len(documents.flags) * self._places.dtype.itemsize)
        wanted, written = _wanted(documents, scratch), 0
        with self._values.open("ab") as file, self._places.path.open("r+b", buffering=0) as places:
            for shard, rows in zip(documents.rows, wanted.drain(), strict=True):
                seen, where = np.zeros(len(rows), np.bool_), texts[shard](PARTS[0]).parent.parent
                for batch in _batches(texts[shard]) if len(rows) else ():
                    at, there = find(rows["id"], from_hex(batch["id"].to_arrow(), where))
                    seen[at[there]] = True
                    sets = _distinct(batch["text"].filter(pl.Series(there)), conf)
                    for doc, values in zip(rows["doc"][at[there]].tolist(), sets, strict=True):
                        place = np.array([(written, len(values))], self._places.dtype)
                        os.pwrite(places.fileno(), place.tobytes(), doc * place.itemsize)
                        file.write(values.tobytes())
                        written += len(values)
                if not seen.all():
                    raise DataError(
                        f"{where} does not hold {int((~seen).sum())} documents of {shard} that were signed: sign them "
                        "again (--refresh sign_shard)"
                    )

    def similarity(self, left: NDArray[Any], right: NDArray[Any]) -> NDArray[np.float64]:
        """The Jaccard similarity of each pair of documents; 1 where neither has a shingle."""
        one, other = self._places.take(left), self._places.take(right)
        sizes = one["count"].astype(np.int64) + other["count"]
        found = np.empty(len(left))
        with self._values.open("rb", buffering=0) as file:
            for chunk in _bounded(sizes):
                pairs = np.arange(chunk.stop - chunk.start, dtype=np.uint64) << np.uint64(32)
                keys = np.concatenate([
                    np.repeat(pairs, places["count"][chunk]) | _read(file.fileno(), places[chunk])
                    for places in (one, other)
                ])  # fmt: skip
                keys.sort(kind="stable")  # two runs in order: merged
                both = keys[1:][keys[1:] == keys[:-1]] >> np.uint64(32)
                shared = np.bincount(both.astype(np.int64), minlength=len(pairs))
                union = sizes[chunk] - shared
                found[chunk] = np.where(union > 0, shared / np.maximum(union, 1), 1.0)
        return found


def mark(documents: Documents, roots: Numbers, conf: DedupConf) -> None:
    """Set `COMPARED` of all documents of the clusters in which one has it or more than two differ; of all clusters,
    where even equal signatures leave a doubt."""
    flags, members = documents.flags, np.zeros(len(roots), np.uint32)
    for block in blocks(len(roots)):
        counted = np.where(flags[block] & REPEATED == 0, 1, 2 * (Doubt.of(conf).high > 1))
        counted += np.where(flags[block] & COMPARED, 2, 0)
        np.add.at(members, roots[block], counted.astype(np.uint32))
    for block in blocks(len(roots)):
        flags[block] |= np.where(members[roots[block]] > 2, COMPARED, 0).astype(np.uint8)


def _wanted(documents: Documents, scratch: Path) -> Partitions:
    """Ids, in order, and numbers of the documents whose shingles are needed, by shard."""
    found = Partitions(scratch / "wanted", [("id", ID), ("doc", "<u4")], len(documents.rows))
    for first, last in zip(documents.starts[:-1].tolist(), documents.starts[1:].tolist(), strict=True):
        docs = first + np.flatnonzero(documents.flags[first:last] & COMPARED)
        names = documents.names.read(first, last - first)[docs - first]
        found.put(names["shard"].astype(np.int64), id=names["id"], doc=docs)
    return found


def _batches(docs: Callable[[str], Path]) -> Iterator[pl.DataFrame]:
    for part in PARTS:
        yield from read_batches(docs(part), ["id", "text"])


def _distinct(texts: pl.Series, conf: DedupConf) -> list[Numbers]:
    """Hashes of the different shingles of each text, in order: the upper halves, as signatures have them."""
    runs = shingles(texts, conf)
    keys = np.unique((runs.owners.astype(np.uint64) << np.uint64(32)) | (runs.values >> np.uint64(32)))
    borders = np.searchsorted(keys >> np.uint64(32), np.arange(1, len(texts)))
    return np.split(keys.astype(np.uint32), borders) if len(texts) else []


def _bounded(sizes: NDArray[np.int64]) -> Iterator[slice]:
    """Runs of pairs that have `_VALUES` shingles together, or are one pair."""
    ends, first = np.cumsum(sizes), 0
    while first < len(sizes):
        before = ends[first] - sizes[first]
        last = max(first + 1, int(np.searchsorted(ends, before + _VALUES, side="right")))
        yield slice(first, min(last, len(sizes)))
        first = last


def _read(descriptor: int, places: NDArray[Any]) -> NDArray[np.uint32]:
    rows = [os.pread(descriptor, 4 * count, 4 * first) for first, count in places.tolist()]
    return np.frombuffer(b"".join(rows), "<u4")
