"""Which document of each cluster stays, and whom those that do not stay are dropped for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tasks.clean.columns import ID, Column, Ids, Partitions, find, heads
from tasks.clean.forest import Forest, blocks
from tasks.clean.intake import EARLIER, FRESH, KEPT, LIMIT, RANK, RANKS, Documents, Previous, first_of

Numbers = NDArray[np.uint32]


@dataclass(frozen=True)
class Survivors:
    """The outcome by numbers; whether a document stays is in its flags."""

    roots: Numbers
    """Of each document, the smallest number in its cluster."""
    best: Numbers
    """By root, the document that the cluster keeps if it has none accepted earlier, else the first one of these."""
    sizes: Column
    """size: by root, the documents of the cluster."""
    remembered: Partitions
    """doc, kept: dropped documents and whom an earlier intake dropped them for, where that is still right."""

    def kept_for(self, documents: Documents, number: int) -> Numbers:
        """Of each document in one file divided by id, itself if it stays, else the one that it is dropped for."""
        first, last = documents.starts[number : number + 2]
        best = self.best[self.roots[first:last]]
        remembered = self.remembered.pop(number)
        best[remembered["doc"] - first] = remembered["kept"]
        return np.where(documents.flags[first:last] & KEPT > 0, np.arange(first, last, dtype=np.uint32), best)


def choose(documents: Documents, previous: Previous, forest: Forest, scratch: Path) -> Survivors:
    """In each cluster every document accepted earlier stays; if there is none, the one of test, then of valid, then
    with the smallest id. Sets `KEPT` of those, and `FRESH` of those that would stay if none had been accepted earlier.
    """
    roots, flags = forest.flatten(), documents.flags
    sizes = _sizes(roots, scratch)
    for block in blocks(len(roots)):
        flags[block] |= np.where(flags[block] & EARLIER > 0, KEPT, 0).astype(np.uint8)
    _mark(flags, roots, _best(roots, flags, 0), FRESH)
    best = _best(roots, flags, len(RANKS))
    _mark(flags, roots, best, KEPT)
    return Survivors(roots, best, sizes, _remember(documents, previous, roots, scratch))


def _best(roots: Numbers, flags: NDArray[np.uint8], newcomer: int) -> Numbers:
    """By root, the first document by rank (a newcomer's is so much higher) and number."""
    best = np.full(len(roots), 2**32 - 1, np.uint32)
    for block in blocks(len(roots)):
        rank = (flags[block] & RANK) + np.where(flags[block] & EARLIER > 0, 0, newcomer)
        numbers = np.arange(block.start, block.stop, dtype=np.uint32)
        np.minimum.at(best, roots[block], rank.astype(np.uint32) * np.uint32(LIMIT) | numbers)
    best &= np.uint32(LIMIT - 1)
    return best


def _mark(flags: NDArray[np.uint8], roots: Numbers, best: Numbers, bit: int) -> None:
    for block in blocks(len(roots)):
        chosen = best[roots[block]] == np.arange(block.start, block.stop, dtype=np.uint32)
        flags[block] |= np.where(chosen, bit, 0).astype(np.uint8)


def _sizes(roots: Numbers, scratch: Path) -> Column:
    counts = np.zeros(len(roots), np.uint32)
    for block in blocks(len(roots)):
        np.add.at(counts, roots[block], np.uint32(1))
    column = Column(scratch / "cluster-sizes", [("size", "<u4")])
    for block in blocks(len(roots)):
        column.append(size=counts[block])
    return column


def _remember(documents: Documents, previous: Previous, roots: Numbers, scratch: Path) -> Partitions:
    """A drop decided earlier keeps its survivor as long as that stays in the same cluster."""
    flags, count = documents.flags, len(previous.drops)
    named = Partitions(scratch / "named", [("doc", "<u4"), ("kept", ID)], count)
    for number, drops in enumerate(previous.drops.drain()):
        drops = drops[np.argsort(drops["id"], kind="stable")]
        drops = drops[first_of(drops["id"])]
        docs, there = _numbers(documents, number, drops["id"])
        there[there] = flags[docs[there]] & KEPT == 0
        kept = drops["kept"][there]
        named.append(heads(kept), doc=docs[there], kept=kept)
    remembered = Partitions(scratch / "remembered", [("doc", "<u4"), ("kept", "<u4")], count)
    for number, rows in enumerate(named.drain()):
        kept, there = _numbers(documents, number, rows["kept"])
        kept, docs = kept[there], rows["doc"][there]
        right = (flags[kept] & KEPT > 0) & (roots[kept] == roots[docs])
        homes = np.searchsorted(documents.starts, docs[right], side="right") - 1
        remembered.put(homes, doc=docs[right], kept=kept[right])
    return remembered


def _numbers(documents: Documents, number: int, ids: Ids) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The numbers of documents by id, in one file divided by id, and whether they are there at all."""
    first, last = documents.starts[number : number + 2]
    places, there = find(documents.names.read(first, last - first)["id"], ids)
    return first + places, there
