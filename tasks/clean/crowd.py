"""Decide on the documents of clusters in which many stay, each compared with those that share a band with it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from conf.schema.clean import DedupConf
from tasks.clean.likeness import Likeness
from tasks.clean.load_signatures import band_key
from tasks.text.words import Hashes

Numbers = NDArray[np.uint32]
Places = NDArray[np.int64]

SHARING = 48
"""Documents that stay and share one band, the first in order, that a document is compared with."""
_BLOCK = 512
"""Documents decided on at a time."""


class _Index:
    """Places of documents that stay by the keys of their bands, in ascending order; some 170 bytes a document."""

    def __init__(self, bands: int) -> None:
        self._keys = [np.empty(0, np.uint64) for _ in range(bands)]
        self._places = [np.empty(0, np.int64) for _ in range(bands)]

    def add(self, keys: Hashes, places: Places) -> None:
        """Add documents behind those that are there; keys has a column for each band."""
        for band in range(len(self._keys)):
            joined = np.concatenate((self._keys[band], keys[:, band]))
            order = np.argsort(joined, kind="stable")
            self._keys[band] = joined[order]
            self._places[band] = np.concatenate((self._places[band], places))[order]

    def find(self, keys: Hashes) -> tuple[Places, Places, Places]:
        """Pairs (row of `keys`, place) that share a band, at most `SHARING` of each; and how many of each band."""
        rows, places = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        counts = np.empty(keys.shape, np.int64)
        for band, known in enumerate(self._keys):
            first = np.searchsorted(known, keys[:, band], "left")
            count = np.minimum(np.searchsorted(known, keys[:, band], "right") - first, SHARING)
            within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
            rows.append(np.repeat(np.arange(len(keys)), count))
            places.append(self._places[band][np.repeat(first, count) + within])
            counts[:, band] = count
        pairs = np.unique(np.stack((np.concatenate(rows), np.concatenate(places))), axis=1)
        return pairs[0], pairs[1], counts


def disperse(docs: Numbers, immune: NDArray[np.bool_], likeness: Likeness, conf: DedupConf) -> Numbers:
    """Of each document, given in the order of priority, the first one that stays and is alike, itself if it stays;
    one that is `immune` always does."""
    index, kept = _Index(conf.bands), docs.copy()
    for start in range(0, len(docs), _BLOCK):
        block = docs[start : start + _BLOCK]
        minhash = likeness.signatures.take(block)["minhash"]
        keys = np.stack([band_key(minhash, band, conf) for band in range(conf.bands)], axis=1)
        rows, places, counts = index.find(keys)
        found = _first_alike(rows, block, places, docs[places], likeness)
        staying = _within(block, minhash, keys, counts, found, immune[start : start + _BLOCK], start, likeness)
        gone = ~staying
        kept[start : start + _BLOCK][gone] = docs[found[gone]]
        index.add(keys[staying], start + np.flatnonzero(staying))
    return kept


def _first_alike(rows: Places, block: Numbers, places: Places, others: Numbers, likeness: Likeness) -> Places:
    """Of each row of a block the first place of those that it is paired with and is alike, -1 where there is none."""
    most = np.iinfo(np.int64).max
    found = np.full(len(block), most)
    same = likeness.alike(block[rows], others)
    np.minimum.at(found, rows[same], places[same])
    return np.where(found == most, -1, found)


def _within(
    block: Numbers,
    minhash: Numbers,
    keys: Hashes,
    counts: Places,
    found: Places,
    immune: NDArray[np.bool_],
    start: int,
    likeness: Likeness,
) -> NDArray[np.bool_]:
    """Which documents of a block stay, one after the other; `found` gets the places of those that others go for."""
    staying = np.zeros(len(minhash), np.bool_)
    shared: dict[tuple[int, int], list[int]] = {}
    for row in range(len(minhash)):
        if found[row] >= 0 and not immune[row]:
            continue
        buckets = [shared.setdefault((band, key), []) for band, key in enumerate(keys[row].tolist())]
        if not immune[row]:
            near = sorted({other for bucket in buckets for other in bucket})
            estimates = (minhash[near] == minhash[row]).mean(axis=1)
            same = likeness.decided(estimates, np.full(len(near), block[row]), block[near])
            if same.any():
                found[row] = start + near[int(same.argmax())]
                continue
        staying[row] = True
        for bucket, count in zip(buckets, counts[row], strict=True):
            if count + len(bucket) < SHARING:
                bucket.append(row)
    return staying
