"""All signatures of an intake and what an earlier one decided, put into the order of ids on disk.

Documents are numbered in that order. Rows are first divided by the start of their ids, which are hashes, into files
that fit into memory; then each file is sorted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from conf.schema.clean import DedupConf
from tasks.clean.columns import ID, Column, Ids, Indices, Partitions, Rows, find, from_hex, heads
from tasks.core.errors import DataError
from tasks.formats.document_files import SIZES_FILE
from tasks.text.words import Hashes, mix

RANKS = ("test", "valid", "train")
"""Parts, the one whose documents stay first."""
RANK, EARLIER, REPEATED, FRESH, KEPT, COMPARED = 3, 4, 8, 16, 32, 64
"""Bits of a document's flags: its part's place in `RANKS`; accepted by an earlier intake; an exact duplicate of a
smaller id; would stay if everything were decided anew; stays; is compared by its shingles."""
NOWHERE = 2**32 - 1
"""Stands for a shard that is not there any more."""
LIMIT = 2**29
"""A document's number and three more bits make 32."""

_ROWS, _KEYS, _BATCH = 1 << 16, 1 << 18, 1 << 14
"""Rows of a file divided by id, of one divided by a hash, and of a batch."""


@dataclass(frozen=True)
class Previous:
    """What an earlier intake decided, divided by id."""

    accepted: Partitions
    """id, shard."""
    drops: Partitions
    """id, kept."""
    sizes: Partitions
    """id, size."""
    sized: bool
    """Whether the earlier intake kept sizes at all."""


@dataclass(frozen=True)
class Documents:
    """The different documents, those of one id once; rows of the columns are in the order of ids."""

    flags: NDArray[np.uint8]
    starts: Indices
    """Number of the first document of each file divided by id, and at the end that of documents."""
    names: Column
    """id, exact, shard (its place in the order of names)."""
    signatures: Column
    """minhash."""
    bands: Sequence[Partitions]
    """key and doc of each band, divided by key, in the order of doc."""
    exact: Partitions
    """exact and doc, divided by exact, in the order of doc."""
    copies: Partitions
    """doc, shard and rank of each further row with a document's id, divided by that."""
    rows: Mapping[str, int]
    """Rows of each shard, copies among them; in the order of names."""


def take_in(
    shards: Mapping[str, Path], previous: Path | None, scratch: Path, conf: DedupConf
) -> tuple[Documents, Previous]:
    """Read signatures.parquet of each shard and what `previous`, the folder of an earlier intake, holds."""
    rows = {shard: pq.read_metadata(shards[shard]).num_rows for shard in sorted(shards)}
    total = sum(rows.values())
    if total >= LIMIT:
        raise DataError(f"{total:,} documents are more than deduplication can number ({LIMIT:,}): take in fewer")
    count = 1 + total // _ROWS
    minhash = ("minhash", "<u4", conf.bands * conf.rows)
    row_type = [("id", ID), ("exact", ID), ("shard", "<u4"), ("rank", "u1"), minhash]
    spool = Partitions(scratch / "rows", row_type, count)
    for number, shard in enumerate(rows):
        _spool(shards[shard], number, spool)
    before = _previous(previous, list(rows), scratch, count)
    return _ordered(spool, before, rows, scratch, conf), before


def _batches(path: Path) -> Any:
    with pq.ParquetFile(path, pre_buffer=False) as file:
        yield from file.iter_batches(batch_size=_BATCH)


def _spool(path: Path, shard: int, spool: Partitions) -> None:
    for batch in _batches(path):
        ids = from_hex(batch.column("id"), path)
        spool.append(
            heads(ids),
            id=ids,
            exact=from_hex(batch.column("exact"), path),
            shard=np.full(len(ids), shard),
            rank=pc.index_in(batch.column("part"), pa.array(RANKS)).to_numpy(zero_copy_only=False),
            minhash=batch.column("minhash").flatten().to_numpy().reshape(len(ids), -1),
        )


def _previous(folder: Path | None, shards: list[str], scratch: Path, count: int) -> Previous:
    found = Previous(
        Partitions(scratch / "accepted", [("id", ID), ("shard", "<u4")], count),
        Partitions(scratch / "drops", [("id", ID), ("kept", ID)], count),
        Partitions(scratch / "sizes", [("id", ID), ("size", "<u4")], count),
        sized=folder is not None and any(folder.glob(f"*/{SIZES_FILE}")),
    )
    if folder is None:
        return found
    path = folder / "accepted/documents.parquet"
    for batch in _batches(path):
        ids = from_hex(batch.column("id"), path)
        homes = pc.index_in(batch.column("shard"), pa.array(shards, pa.string())).fill_null(-1)
        found.accepted.append(heads(ids), id=ids, shard=homes.to_numpy(zero_copy_only=False).astype(np.uint32))
    for path in sorted(folder.glob("*/drop.parquet")):
        for batch in _batches(path):
            ids, kept = (from_hex(batch.column(name), path) for name in ("id", "kept_id"))
            other = ids != kept
            found.drops.append(heads(ids[other]), id=ids[other], kept=kept[other])
    for path in sorted(folder.glob(f"*/{SIZES_FILE}")):
        for batch in _batches(path):
            ids = from_hex(batch.column("id"), path)
            found.sizes.append(heads(ids), id=ids, size=batch.column("size").to_numpy())
    return found


def _ordered(spool: Partitions, before: Previous, rows: Mapping[str, int], scratch: Path, conf: DedupConf) -> Documents:
    flags, starts = np.zeros(sum(rows.values()), np.uint8), [0]
    parts = 1 + len(flags) // _KEYS
    doc = ("doc", "<u4")
    found = Documents(
        flags,
        np.array(starts),
        Column(scratch / "names", [("id", ID), ("exact", ID), ("shard", "<u4")]),
        Column(scratch / "signatures", [("minhash", "<u4", conf.bands * conf.rows)]),
        [Partitions(scratch / f"band-{band}", [("key", "<u8"), doc], parts) for band in range(conf.bands)],
        Partitions(scratch / "exact", [("exact", ID), doc], parts),
        Partitions(scratch / "copies", [doc, ("shard", "<u4"), ("rank", "u1")], len(spool)),
        rows,
    )
    for number, unordered in enumerate(spool.drain()):
        part, first, earlier = _in_order(unordered, before.accepted.pop(number))
        docs = starts[-1] + np.cumsum(first) - 1
        copies = part[~first]
        own = np.full(len(copies), number)
        found.copies.put(own, doc=docs[~first], shard=copies["shard"], rank=copies["rank"])
        _put(found, part[first], docs[first], conf)
        starts.append(starts[-1] + int(first.sum()))
        flags[starts[-2] : starts[-1]] = part["rank"][first] | np.where(earlier[first], EARLIER, 0)
    return replace(found, flags=flags[: starts[-1]], starts=np.array(starts))


def _in_order(rows: Rows, accepted: Rows) -> tuple[Rows, NDArray[np.bool_], NDArray[np.bool_]]:
    """Rows by (id, the shard that holds the accepted one first, shard); which are the first of their id, which were
    accepted earlier."""
    accepted = accepted[np.argsort(accepted["id"])]
    place, earlier = find(accepted["id"], rows["id"])
    home = np.full(len(rows), NOWHERE, np.uint32)
    home[earlier] = accepted["shard"][place[earlier]]
    away = earlier & (home != rows["shard"])
    order = np.lexsort((rows["shard"], away, rows["id"]))
    rows = rows[order]
    return rows, first_of(rows["id"]), earlier[order]


def first_of(ordered: Ids) -> NDArray[np.bool_]:
    """Whether each id is another one than that before it."""
    return np.concatenate((np.ones(min(1, len(ordered)), np.bool_), ordered[1:] != ordered[:-1]))


def _put(documents: Documents, rows: Rows, docs: Indices, conf: DedupConf) -> None:
    documents.names.append(**{name: rows[name] for name in ("id", "exact", "shard")})
    documents.signatures.append(minhash=rows["minhash"])
    documents.exact.append(heads(rows["exact"]), exact=rows["exact"], doc=docs)
    for band, partitions in enumerate(documents.bands):
        key = band_key(rows["minhash"], band, conf)
        partitions.append((key >> np.uint64(32)).astype(np.uint32), key=key, doc=docs)


def band_key(minhash: NDArray[np.uint32], band: int, conf: DedupConf) -> Hashes:
    """One number for the hashes of a band of each signature."""
    key = np.zeros(len(minhash), np.uint64)
    for column in range(band * conf.rows, (band + 1) * conf.rows):
        key = mix(key + minhash[:, column])
    return key
