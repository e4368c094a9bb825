"""Which documents stay, and whom each of the others is dropped for.

In the order of their priority (what an earlier intake accepted, then test, valid, train, then the smallest id) each
document stays unless one that stays is alike: a chain of revisions keeps one here and there, not one of all. Documents
are compared within their cluster only: with the first `LEADERS` that stay there, in rounds over all clusters at once,
and those of clusters that keep more with what shares a band with them (`tasks.clean.crowd`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from conf.schema.clean import DedupConf
from tasks.clean.columns import ID, Column, Ids, Partitions, find, heads
from tasks.clean.crowd import disperse
from tasks.clean.likeness import Likeness, Sets, Texts, mark
from tasks.clean.load_signatures import (
    COMPARED,
    EARLIER,
    FRESH,
    KEPT,
    LIMIT,
    RANK,
    RANKS,
    Documents,
    Previous,
    first_of,
)
from tasks.clean.union_find import UnionFind, blocks

Numbers = NDArray[np.uint32]
OPEN = 2**32 - 1
"""Stands for a decision that is still to be taken."""
LEADERS = 64
"""Documents of a cluster that all others of it are compared with."""


@dataclass(frozen=True)
class Representatives:
    """The outcome by numbers; whether a document stays is in its flags too."""

    kept: Numbers
    """Of each document the one that it is dropped for, itself if it stays."""
    sizes: Column
    """size: of each document that stays, how many documents are it or dropped for it; 0 of the others."""


def choose(
    documents: Documents, previous: Previous, groups: UnionFind, texts: Texts, scratch: Path, conf: DedupConf
) -> Representatives:
    """Decide on all documents. Sets `KEPT` of those that stay, and `FRESH` of those that would stay if none had been
    accepted earlier. A drop decided earlier stands as long as the document that it names is there and is alike."""
    roots, flags = groups.flatten(), documents.flags
    remembered = _named(documents, previous, scratch)
    mark(documents, roots, conf)
    sets = Sets(scratch)
    sets.fill(documents, texts, scratch, conf)
    likeness = Likeness(documents.signatures, sets, conf)
    any_earlier = any((flags[block] & EARLIER > 0).any() for block in blocks(len(flags)))
    if any_earlier:
        _mark(flags, _decide(documents, roots, np.full(len(roots), OPEN, np.uint32), 0, likeness, conf), FRESH)
    kept = np.full(len(roots), OPEN, np.uint32)
    for pairs in remembered.drain():
        right = likeness.alike(pairs["doc"], pairs["kept"])
        kept[pairs["doc"][right]] = pairs["kept"][right]
    kept = _decide(documents, roots, kept, EARLIER, likeness, conf)
    _mark(flags, kept, KEPT if any_earlier else KEPT | FRESH)
    return Representatives(kept, _sizes(kept, scratch))


def _decide(
    documents: Documents, roots: Numbers, kept: Numbers, immune: int, likeness: Likeness, conf: DedupConf
) -> Numbers:
    """Fill in `kept` where it is open; documents with the flag `immune` stay whatever they are like."""
    flags = documents.flags
    best = _first(documents, roots, kept, immune)
    for block in blocks(len(roots)):
        docs = np.flatnonzero(kept[block] == OPEN).astype(np.uint32) + block.start
        _compare(documents, docs, best[roots[docs]], kept, immune, likeness)
    del best
    rest = _open(flags, roots, kept, immune)
    for _ in range(LEADERS - 1):
        if not len(rest):
            break
        leads = np.concatenate(([True], roots[rest[1:]] != roots[rest[:-1]]))
        _compare(documents, rest, rest[leads][np.cumsum(leads) - 1], kept, immune, likeness)
        rest = _settled(flags, roots, kept, rest[kept[rest] == OPEN], immune)
    if len(rest):
        rest = rest[np.argsort(_priority(flags, rest, immune), kind="stable")]
        kept[rest] = disperse(rest, flags[rest] & immune > 0, likeness, conf)
    return kept


def _compare(
    documents: Documents, docs: Numbers, leaders: Numbers, kept: Numbers, immune: int, likeness: Likeness
) -> None:
    """Keep the leaders among some documents, and drop what is like its leader."""
    leading = docs == leaders
    kept[docs[leading]] = docs[leading]
    others = ~leading & (documents.flags[docs] & immune == 0)
    docs, leaders = docs[others], leaders[others]
    same = likeness.alike(docs, leaders)
    kept[docs[same]] = leaders[same]


def _open(flags: NDArray[np.uint8], roots: Numbers, kept: Numbers, immune: int) -> Numbers:
    """The documents of clusters in which something is to be decided, by cluster and priority; others stay."""
    waiting, found = np.zeros(len(roots), np.bool_), [np.empty(0, np.uint32)]
    for block in blocks(len(roots)):
        waiting[roots[block][(kept[block] == OPEN) & (flags[block] & immune == 0)]] = True
    for block in blocks(len(roots)):
        docs = np.flatnonzero(kept[block] == OPEN).astype(np.uint32) + block.start
        there = waiting[roots[docs]]
        kept[docs[~there]] = docs[~there]
        found.append(docs[there])
    rest = np.concatenate(found)
    return rest[np.lexsort((_priority(flags, rest, immune), roots[rest]))]


def _settled(flags: NDArray[np.uint8], roots: Numbers, kept: Numbers, rest: Numbers, immune: int) -> Numbers:
    """Those of some documents, in the order of clusters, whose cluster has one to decide on; the others stay."""
    if not len(rest):
        return rest
    begins = np.flatnonzero(np.concatenate(([True], roots[rest[1:]] != roots[rest[:-1]])))
    waiting = np.logical_or.reduceat(flags[rest] & immune == 0, begins)
    there: NDArray[np.bool_] = np.repeat(waiting, np.diff(np.append(begins, len(rest))))
    kept[rest[~there]] = rest[~there]
    waits: Numbers = rest[there]
    return waits


def _priority(flags: NDArray[np.uint8], docs: Numbers, immune: int) -> Numbers:
    rank = (flags[docs] & RANK) + np.where(flags[docs] & immune > 0, 0, len(RANKS))
    return rank.astype(np.uint32) * np.uint32(LIMIT) | docs


def _first(documents: Documents, roots: Numbers, kept: Numbers, immune: int) -> Numbers:
    """By root, the first of the documents of a cluster that are not decided on."""
    best = np.full(len(roots), OPEN, np.uint32)
    for block in blocks(len(roots)):
        docs = np.flatnonzero(kept[block] == OPEN).astype(np.uint32) + block.start
        np.minimum.at(best, roots[docs], _priority(documents.flags, docs, immune))
    best &= np.uint32(LIMIT - 1)
    return best


def _mark(flags: NDArray[np.uint8], kept: Numbers, bit: int) -> None:
    for block in blocks(len(kept)):
        chosen = kept[block] == np.arange(block.start, block.stop, dtype=np.uint32)
        flags[block] |= np.where(chosen, bit, 0).astype(np.uint8)


def _sizes(kept: Numbers, scratch: Path) -> Column:
    counts = np.zeros(len(kept), np.uint32)
    for block in blocks(len(kept)):
        np.add.at(counts, kept[block], np.uint32(1))
    column = Column(scratch / "cluster-sizes", [("size", "<u4")])
    for block in blocks(len(kept)):
        column.append(size=counts[block])
    return column


def _named(documents: Documents, previous: Previous, scratch: Path) -> Partitions:
    """doc and kept: what an earlier intake dropped for a document that is accepted still. Marks both `COMPARED`."""
    flags, count = documents.flags, len(previous.drops)
    named = Partitions(scratch / "named", [("doc", "<u4"), ("kept", ID)], count)
    for number, drops in enumerate(previous.drops.drain()):
        drops = drops[np.argsort(drops["id"], kind="stable")]
        drops = drops[first_of(drops["id"])]
        docs, there = _numbers(documents, number, drops["id"])
        there[there] = flags[docs[there]] & EARLIER == 0
        representatives = drops["kept"][there]
        named.append(heads(representatives), doc=docs[there], kept=representatives)
    found = Partitions(scratch / "remembered", [("doc", "<u4"), ("kept", "<u4")], count)
    for number, rows in enumerate(named.drain()):
        representatives, there = _numbers(documents, number, rows["kept"])
        there[there] = flags[representatives[there]] & EARLIER > 0
        docs, chosen = rows["doc"][there], representatives[there]
        flags[docs] |= COMPARED
        flags[chosen] |= COMPARED
        found.put(np.full(len(docs), number), doc=docs, kept=chosen)
    return found


def _numbers(documents: Documents, number: int, ids: Ids) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The numbers of documents by id, in one file divided by id, and whether they are there at all."""
    first, last = documents.starts[number : number + 2]
    places, there = find(documents.names.read(first, last - first)["id"], ids)
    return first + places, there
