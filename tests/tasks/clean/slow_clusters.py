"""What `tasks.clean.clusters` must decide, decided slowly: all signatures and ids in memory.

Documents with the same exact hash, or that share a band of their signatures and whose estimated Jaccard similarity
reaches the threshold, are joined; a cluster is a connected component. One after the other, by priority, documents stay
unless one that stays is alike, by the shingles of their texts where the estimate is within its error of the threshold:
of the first that stay in the cluster, or of those that share a band. Within one intake
the outcome depends on the set of documents alone; across intakes a document that was accepted once stays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from conf.schema.clean import DedupConf
from tasks.clean import choose_representatives, crowd
from tasks.clean.clusters import ACCEPTED, DROPS, SIZES
from tasks.formats.documents import PARTS
from tasks.text.words import mix
from tests.tasks.clean.test_signatures import jaccard

Indices = NDArray[np.int64]

_WHOLE_BUCKET = 48
"""Documents of a larger bucket are compared with as many neighbours in the order of ids, not with all."""
_CHUNK = 1 << 16
"""Pairs compared at a time: bounds the memory."""


@dataclass(frozen=True)
class State:
    """What an earlier intake decided."""

    accepted: pl.DataFrame
    """Columns of `ACCEPTED`."""
    drops: pl.DataFrame
    """Columns of `DROPS`, of all shards."""
    sizes: pl.DataFrame
    """Columns of `SIZES`, of all shards."""

    @classmethod
    def empty(cls) -> State:
        """Before the first intake."""
        return cls(ACCEPTED.to_frame(), DROPS.to_frame(), SIZES.to_frame())


@dataclass(frozen=True)
class Outcome:
    """What one intake decided."""

    drops: pl.DataFrame
    """Columns of `DROPS` and shard, sorted by shard and id."""
    accepted: pl.DataFrame
    """Columns of `ACCEPTED`, sorted by id."""
    sizes: pl.DataFrame
    """Columns of `SIZES` and shard, sorted by id."""
    stats: dict[str, Any]


def find_duplicates(signatures: pl.DataFrame, previous: State, conf: DedupConf) -> Outcome:
    """Decide on all documents at once.

    `signatures` has the columns of `signatures.schema`, text and shard. By priority come what was accepted earlier,
    then the held-out (test, then valid), then the smallest id. What is dropped has the id of the first that stays and
    is found alike; a drop decided earlier keeps that id as long as that document is there and alike.
    """
    rows = _in_order(signatures, previous)
    documents = rows.unique("id", keep="first", maintain_order=True)
    cluster = components(documents.height, *_links(documents, conf))
    best = _survivors(documents, cluster, previous, conf)
    kept = pl.Series("kept", best == np.arange(len(best)))
    decided = documents.select("id", "exact", kept=kept, best=pl.Series(documents["id"].gather(best)))
    drops = _drops(rows, decided)
    accepted = decided.filter("kept").join(documents, on="id", how="left").select(ACCEPTED.names()).sort("id")
    return Outcome(drops, accepted, _sizes(documents, kept, best, previous), _stats(rows, drops, best))


def _in_order(signatures: pl.DataFrame, previous: State) -> pl.DataFrame:
    """All rows by (id, the shard that holds the accepted one first, shard), with the columns earlier and rank."""
    home = previous.accepted.rename({"shard": "home"})
    rank = pl.col("part").replace_strict({"test": 0, "valid": 1, "train": 2}, return_dtype=pl.Int8)
    return (
        signatures.join(home, on="id", how="left")
        .with_columns(pl.col("home").is_not_null().alias("earlier"), rank.alias("rank"))
        .with_columns((pl.col("home") != pl.col("shard")).fill_null(False).alias("away"))
        .sort("id", "away", "shard")
    )


def components(count: int, left: Indices, right: Indices) -> Indices:
    """For each of `count` nodes the smallest node of its connected component, given the edges (left[i], right[i])."""
    label = np.arange(count)
    while True:
        low = np.minimum(label[left], label[right])
        if np.array_equal(label[left], label[right]):
            return label
        np.minimum.at(label, label[left], low)
        np.minimum.at(label, label[right], low)
        while not np.array_equal(label, label[label]):
            label = label[label]


def _links(documents: pl.DataFrame, conf: DedupConf) -> tuple[Indices, Indices]:
    exact = documents["exact"].rank("dense").to_numpy().astype(np.int64)
    order = np.argsort(exact, kind="stable")
    same = exact[order][1:] == exact[order][:-1]
    lefts, rights = [order[:-1][same]], [order[1:][same]]
    distinct = np.sort(order[np.concatenate(([True], ~same))]) if len(order) else order
    signatures = documents["minhash"].to_numpy()
    for left, right in candidates(signatures, distinct, conf):
        alike = (signatures[left] == signatures[right]).mean(axis=1) >= conf.threshold
        lefts.append(left[alike])
        rights.append(right[alike])
    return np.concatenate(lefts), np.concatenate(rights)


def candidates(signatures: NDArray[np.uint32], rows: Indices, conf: DedupConf) -> Iterator[tuple[Indices, Indices]]:
    """Chunks of pairs among `rows` that share a band and shared none before."""
    seen = np.empty(0, np.int64)
    for band in range(conf.bands):
        columns = signatures[rows, band * conf.rows : (band + 1) * conf.rows]
        key = np.zeros(len(rows), np.uint64)
        for column in columns.T:
            key = mix(key + column)
        left, right = _bucket_pairs(key)
        pairs = np.setdiff1d(rows[left] * len(signatures) + rows[right], seen, assume_unique=True)
        seen = np.concatenate((seen, pairs))
        for first in range(0, len(pairs), _CHUNK):
            chunk = pairs[first : first + _CHUNK]
            yield chunk // len(signatures), chunk % len(signatures)


def _bucket_pairs(keys: NDArray[np.uint64]) -> tuple[Indices, Indices]:
    """Positions of equal keys, each with those that follow it in its bucket, `_WHOLE_BUCKET` of them at most."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    lefts, rights = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for distance in range(1, _WHOLE_BUCKET + 1):
        same = np.flatnonzero(ordered[distance:] == ordered[:-distance])
        if not len(same):
            break
        lefts.append(order[same])
        rights.append(order[same + distance])
    return np.concatenate(lefts), np.concatenate(rights)


def _survivors(documents: pl.DataFrame, cluster: Indices, previous: State, conf: DedupConf) -> Indices:
    """Of each document (a row number) the one that it is dropped for, itself if it stays."""
    earlier, rank = documents["earlier"].to_numpy(), documents["rank"].to_numpy()
    signatures, numbers = documents["minhash"].to_numpy(), {id_: n for n, id_ in enumerate(documents["id"])}
    best: dict[int, int] = {}

    texts = documents["text"].to_list()
    error = (conf.threshold * (1 - conf.threshold) / signatures.shape[1]) ** 0.5

    def alike(one: int, other: int) -> bool:
        above = (signatures[one] == signatures[other]).mean() - conf.threshold
        if abs(above) > 4 * error:
            return bool(above > 0)
        return jaccard(texts[one].lower(), texts[other].lower(), conf.shingle) >= conf.threshold

    for id_, kept_id in previous.drops.unique("id", keep="first", maintain_order=True).select("id", "kept_id").rows():
        one, other = numbers.get(id_, -1), numbers.get(kept_id, -1)
        if min(one, other) >= 0 and not earlier[one] and earlier[other] and alike(one, other):
            best[one] = other
    order = np.lexsort((np.arange(len(cluster)), rank, ~earlier)).tolist()
    for members in np.unique(cluster).tolist():
        open_ = [one for one in order if cluster[one] == members and one not in best]
        for _ in range(choose_representatives.LEADERS):
            if all(earlier[one] for one in open_):
                break
            leader = best[open_[0]] = open_[0]
            best.update({one: leader for one in open_ if not earlier[one] and alike(one, leader)})
            open_ = [one for one in open_ if one not in best]
    waiting = {cluster[one] for one in order if one not in best and not earlier[one]}
    shared: dict[tuple[int, bytes], list[int]] = {}
    for one in (one for one in order if one not in best):
        if cluster[one] in waiting:
            bands = enumerate(band.tobytes() for band in np.split(signatures[one], conf.bands))
            buckets = [shared.setdefault(key, []) for key in bands]
            near = sorted({other for bucket in buckets for other in bucket}, key=order.index)
            best[one] = next((other for other in near if alike(one, other) and not earlier[one]), one)
            for bucket in buckets:
                bucket += [one] * (len(bucket) < crowd.SHARING and best[one] == one)
    return np.array([best.get(one, one) for one in range(len(cluster))], np.int64)


def _drops(rows: pl.DataFrame, decided: pl.DataFrame) -> pl.DataFrame:
    """Drop documents that do not stay, and every further copy of an id in another shard."""
    exact = decided.select(best="id", best_exact="exact")
    reason = pl.when(pl.col("exact") == pl.col("best_exact")).then(pl.lit("exact_duplicate"))
    copies = rows.select("id", "shard", copy=~pl.col("id").is_first_distinct())
    return (
        copies.join(decided, on="id", how="left")
        .filter(pl.col("copy") | ~pl.col("kept"))
        .join(exact, on="best", how="left")
        .select("id", "shard", kept_id="best", reason=reason.otherwise(pl.lit("near_duplicate")))
        .sort("shard", "id")
    )


def _sizes(documents: pl.DataFrame, kept: pl.Series, best: Indices, previous: State) -> pl.DataFrame:
    counted = pl.Series("counted", np.bincount(best)[best] if len(best) else best)
    known = previous.sizes.unique("id").rename({"size": "known"})
    staying = documents.with_columns(counted).filter(kept).join(known, on="id", how="left")
    size = pl.when("earlier").then("known").otherwise("counted").cast(pl.UInt32)
    return staying.select("id", "shard", size=size).filter(pl.col("size") > 1).sort("id")


def _stats(rows: pl.DataFrame, drops: pl.DataFrame, best: Indices) -> dict[str, Any]:
    sizes = np.bincount(best, minlength=1)
    parts = rows.select("id", "shard", "part").join(drops, on=("id", "shard"), how="inner")
    return {
        "documents": rows.height,
        "dropped": drops.height,
        "clusters": int((sizes > 1).sum()),
        "largest_cluster": int(sizes.max()),
        "reasons": dict(sorted(drops["reason"].value_counts().iter_rows())),
        "parts": {part: int((parts["part"] == part).sum()) for part in PARTS},
    }
