"""Which documents are duplicates of which, and which one stays.

Documents with the same exact hash, or that share a band of their signatures and whose estimated Jaccard similarity
reaches the threshold, may be duplicates, and so may what they are joined to; one is dropped if its similarity to one
that stays, by the shingles themselves, reaches the threshold. Within one intake the outcome depends on the set of
documents alone; across intakes a document that was accepted once stays.

Signatures, ids and hashes are on disk; what is in memory for the whole corpus is 13 bytes a document.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from conf.schema.clean import DedupConf
from tasks.clean.buckets import join
from tasks.clean.choose_representatives import Representatives, choose
from tasks.clean.columns import ID, Partitions, Rows, find, to_hex
from tasks.clean.likeness import Texts
from tasks.clean.load_signatures import EARLIER, FRESH, KEPT, RANK, RANKS, Documents, Previous, take_in
from tasks.clean.union_find import blocks
from tasks.formats.document_files import SIZES_FILE
from tasks.formats.documents import PARTS, TableWriter

ACCEPTED = pl.Schema({"id": pl.String, "shard": pl.String})
"""The state for the next intake: the documents that were kept, and the shard that holds each."""
DROPS = pl.Schema({"id": pl.String, "kept_id": pl.String, "reason": pl.String})
SIZES = pl.Schema({"id": pl.String, "size": pl.UInt32})
"""How many different documents an accepted one stood for in the intake that accepted it, where more than one.

A later intake leaves it as it is, although newcomers may be dropped for it: an old shard keeps its digest.
"""
REASONS = ("near_duplicate", "exact_duplicate")

_GROUP = 1 << 18
"""Rows of the shards that are written together."""


def cluster_shards(
    shards: Mapping[str, Path],
    texts: Texts,
    previous: Path | None,
    out: Callable[[str], Path],
    scratch: Path,
    conf: DedupConf,
) -> dict[str, Any]:
    """Read each shard's signatures, and the texts of what may be duplicates; write SHARD/drop.parquet and
    SHARD/sizes.parquet for each, and accepted/documents.parquet, to `out(NAME)`, each sorted by id.

    `previous` is the folder that an earlier call wrote, None at the first intake. A drop decided earlier keeps the
    representative that it names as long as that is still right, so that an intake does not touch the shards before it.
    `scratch` is a folder for temporary files (about 1 KB a document, and as much as the texts of what may be
    duplicates), emptied first and removed at the end. Raises `DataError` for ids that are not 32 hex digits, for more
    than 2**29 documents, and for a shard that lacks the text of a document that was signed.
    """
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    documents, before = take_in(shards, previous, scratch, conf)
    groups = join(documents, conf)
    representatives = choose(documents, before, groups, texts, scratch, conf)
    outcome = _Outcome(documents, before, representatives, scratch)
    with TableWriter(out("accepted/documents.parquet"), ACCEPTED) as writer:
        for frame in outcome.accepted():
            writer.add(frame)
    for shard, drops, sizes in outcome.by_shard():
        with TableWriter(out(f"{shard}/drop.parquet"), DROPS) as writer:
            writer.add(drops)
        with TableWriter(out(f"{shard}/{SIZES_FILE}"), SIZES) as writer:
            writer.add(sizes)
    stats = outcome.stats()
    shutil.rmtree(scratch)
    return stats


class _Outcome:
    """What an intake decided, as the tables that are written."""

    def __init__(
        self, documents: Documents, previous: Previous, representatives: Representatives, scratch: Path
    ) -> None:
        self._documents, self._previous, self._chosen = documents, previous, representatives
        self._shards = pl.Series(list(documents.rows), dtype=pl.String)
        rows = np.cumsum(np.array([0, *documents.rows.values()]))
        self._group = (rows // _GROUP)[:-1]
        """The group that each shard is written with."""
        count = int(rows[-1] // _GROUP) + 1
        shard, id_ = ("shard", "<u4"), ("id", ID)
        self._drops = Partitions(scratch / "out-drops", [shard, id_, ("kept", ID), ("exact", "u1")], count)
        self._sizes = Partitions(scratch / "out-sizes", [shard, id_, ("size", "<u4")], count)
        self._reasons: Counter[str] = Counter()
        self._parts: Counter[str] = Counter()

    def accepted(self) -> Iterator[pl.DataFrame]:
        """The accepted documents; drops and sizes are set aside for `by_shard` on the way."""
        for number in range(len(self._documents.starts) - 1):
            first, last = self._documents.starts[number : number + 2]
            names = self._documents.names.read(first, last - first)
            kept = self._documents.flags[first:last] & KEPT > 0
            self._set_drops_aside(number, names)
            self._set_sizes_aside(number, names, kept)
            shards = self._shards.gather(names["shard"][kept])
            yield pl.DataFrame({"id": to_hex(names["id"][kept]), "shard": shards}, schema=ACCEPTED)

    def _set_drops_aside(self, number: int, names: Rows) -> None:
        """Drop documents that do not stay, and every further copy of an id in another shard."""
        first, last = self._documents.starts[number : number + 2]
        flags, copies = self._documents.flags[first:last], self._documents.copies.pop(number)
        gone = np.flatnonzero(flags & KEPT == 0)
        dropped = np.concatenate((gone, copies["doc"] - first))
        kept = self._documents.names.take(self._chosen.kept[dropped + first])
        exact = names["exact"][dropped] == kept["exact"]
        shards = np.concatenate((names["shard"][gone], copies["shard"]))
        self._drops.put(self._group[shards], shard=shards, id=names["id"][dropped], kept=kept["id"], exact=exact)
        ranks = np.concatenate((flags[gone] & RANK, copies["rank"]))
        self._reasons.update({reason: int((exact == n).sum()) for n, reason in enumerate(REASONS)})
        self._parts.update({part: int((ranks == n).sum()) for n, part in enumerate(RANKS)})

    def _set_sizes_aside(self, number: int, names: Rows, kept: Any) -> None:
        first, last = self._documents.starts[number : number + 2]
        known = self._previous.sizes.pop(number)
        recorded = self._previous.sized & (self._documents.flags[first:last] & EARLIER > 0)
        sizes = np.zeros(last - first, np.uint32)
        counted = kept & ~recorded
        sizes[counted] = self._chosen.sizes.read(first, last - first)["size"][counted]
        places, there = find(names["id"], known["id"])
        there[there] = recorded[places[there]]
        sizes[places[there]] = known["size"][there]
        some = sizes > 1
        shards = names["shard"][some]
        self._sizes.put(self._group[shards], shard=shards, id=names["id"][some], size=sizes[some])

    def by_shard(self) -> Iterator[tuple[str, pl.DataFrame, pl.DataFrame]]:
        """Each shard with its drops and sizes, once all accepted documents have been taken."""
        for group, (drops, sizes) in enumerate(zip(self._drops.drain(), self._sizes.drain(), strict=True)):
            drops, sizes = (rows[np.lexsort((rows["id"], rows["shard"]))] for rows in (drops, sizes))
            for shard in np.flatnonzero(self._group == group).tolist():
                dropped, sized = _of(drops, shard), _of(sizes, shard)
                reason = pl.Series(REASONS).gather(dropped["exact"])
                frame = {"id": to_hex(dropped["id"]), "kept_id": to_hex(dropped["kept"]), "reason": reason}
                size = pl.Series(np.ascontiguousarray(sized["size"]))
                yield (
                    self._shards[shard],
                    pl.DataFrame(frame, schema=DROPS),
                    pl.DataFrame({"id": to_hex(sized["id"]), "size": size}, schema=SIZES),
                )

    def stats(self) -> dict[str, Any]:
        """Counts, once everything has been taken; `recomputed` says what deciding all anew would change: how many
        accepted documents it would drop, and how many dropped ones it would accept."""
        flags = self._documents.flags
        changed: Counter[str] = Counter()
        clusters = largest = 0
        for block in blocks(len(flags)):
            counts = self._chosen.sizes.read(block.start, block.stop - block.start)["size"]
            clusters += int((counts > 1).sum())
            largest = max(largest, int(counts.max()))
            marks = flags[block] & (KEPT | FRESH)
            changed.update(dropped=int((marks == KEPT).sum()), accepted=int((marks == FRESH).sum()))
        return {
            "documents": sum(self._documents.rows.values()),
            "dropped": self._reasons.total(),
            "clusters": clusters,
            "largest_cluster": largest,
            "reasons": {reason: n for reason, n in sorted(self._reasons.items()) if n},
            "parts": {part: self._parts[part] for part in PARTS},
            "recomputed": {name: changed[name] for name in ("dropped", "accepted")},
        }


def _of(rows: Rows, shard: int) -> Rows:
    """The rows of one shard, among rows sorted by it."""
    first, last = np.searchsorted(rows["shard"], [shard, shard + 1])
    return rows[first:last]
