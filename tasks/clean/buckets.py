"""Which documents may be duplicates: those with the same exact hash, and those that share a band and are alike."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from conf.schema.clean import DedupConf
from tasks.clean.columns import Partitions, Rows
from tasks.clean.likeness import Doubt
from tasks.clean.load_signatures import COMPARED, REPEATED, Documents
from tasks.clean.union_find import UnionFind

Docs = NDArray[np.uint32]

_WHOLE_BUCKET = 48
"""Documents of a larger bucket are compared with as many neighbours in the order of ids, not with all."""
_CHUNK = 1 << 14
"""Pairs compared at a time: bounds the memory."""


def join(documents: Documents, conf: DedupConf) -> UnionFind:
    """Join exact duplicates, and documents that share a band of their signatures and whose estimated Jaccard similarity
    reaches the threshold; of exact duplicates only the one with the smallest id is compared with others."""
    groups = UnionFind(int(documents.starts[-1]))
    _join_exact(documents.exact, documents.flags, groups)
    for band in documents.bands:
        for rows in band.drain():
            distinct = rows[documents.flags[rows["doc"]] & REPEATED == 0]
            for left, right in _pairs(distinct):
                _join_alike(left, right, documents, groups, conf)
        groups.flatten()
    return groups


def _join_exact(exact: Partitions, flags: NDArray[np.uint8], groups: UnionFind) -> None:
    for rows in exact.drain():
        rows = rows[np.argsort(rows["exact"], kind="stable")]
        same = rows["exact"][1:] == rows["exact"][:-1]
        flags[rows["doc"][1:][same]] |= REPEATED
        groups.join(rows["doc"][:-1][same], rows["doc"][1:][same])


def _pairs(rows: Rows) -> Iterator[tuple[Docs, Docs]]:
    """Documents of one bucket, each with those that follow it there, `_WHOLE_BUCKET` of them at most."""
    order = np.argsort(rows["key"], kind="stable")
    keys, docs = rows["key"][order], rows["doc"][order]
    for distance in range(1, _WHOLE_BUCKET + 1):
        same = np.flatnonzero(keys[distance:] == keys[:-distance])
        if not len(same):
            return
        for first in range(0, len(same), _CHUNK):
            chunk = same[first : first + _CHUNK]
            yield docs[chunk], docs[chunk + distance]


def _join_alike(left: Docs, right: Docs, documents: Documents, groups: UnionFind, conf: DedupConf) -> None:
    """Join the pairs that are alike, and set `COMPARED` where the estimate leaves a doubt; those that are in one
    component already need no look."""
    apart = groups.roots(left) != groups.roots(right)
    left, right = left[apart], right[apart]
    one, other = (documents.signatures.take(docs)["minhash"] for docs in (left, right))
    estimates = (one == other).mean(axis=1)
    same = estimates >= conf.threshold
    groups.join(left[same], right[same])
    documents.flags[left[same & (estimates < Doubt.of(conf).high)]] |= COMPARED
