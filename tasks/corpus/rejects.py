"""What a run dropped, and why: counted by stage and reason, and row by row."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from tasks.core.artifact import Manifest
from tasks.core.errors import ConfigError
from tasks.core.store.store import Store
from tasks.corpus.funnel import ASIDE, DROPPING, parts_of
from tasks.formats.document_files import REJECTS_FILE, UNREADABLE_FILE

READ = "collect"
"""The stage that sets rows aside which become no document."""


def counted(store: Store, record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """(stage, reason, documents) of a run, stages in their order, the most frequent reason of a stage first."""
    found: dict[tuple[str, str], int] = {}
    for stage, manifest in _dropping(store, record):
        for reason, number in _reasons(stage, manifest).items():
            found[stage, reason] = found.get((stage, reason), 0) + number
    order = list(dict.fromkeys(stage for stage, _ in found))
    ranked = sorted(found.items(), key=lambda one: (order.index(one[0][0]), -one[1], one[0][1]))
    return [{"stage": stage, "reason": reason, "documents": number} for (stage, reason), number in ranked if number]


def rows(store: Store, record: Mapping[str, Any], reason: str, limit: int) -> list[dict[str, Any]]:
    """The first `limit` documents that were dropped for a reason: stage, shard, reason, detail, source, uri, text.

    Texts that were there already in the same shard (`repeated`) are counted and not kept.

    Raises `ConfigError`, naming the reasons that there are, for one that the run did not drop for.
    """
    known = {one["reason"] for one in counted(store, record)}
    if reason not in known:
        there = ", ".join(sorted(known)) or "none: it dropped nothing"
        raise ConfigError(f"run {record['name']} dropped nothing for {reason!r}; its reasons are: {there}")
    holding = ((stage, manifest) for stage, manifest in _dropping(store, record) if _reasons(stage, manifest)[reason])
    return list(islice((row for stage, manifest in holding for row in _rows(store, stage, manifest, reason)), limit))


def _dropping(store: Store, record: Mapping[str, Any]) -> Iterator[tuple[str, Manifest]]:
    stages = {"fetch_shard": READ, **DROPPING}
    for step, stage in stages.items():
        for done in record["steps"]:
            if done["step"] == step and done["key"]:
                found = store.look(step, done["key"])
                if isinstance(found, Manifest):
                    yield stage, found


def _reasons(stage: str, manifest: Manifest) -> Counter[str]:
    if stage == READ:
        return Counter({name: int(manifest.stats.get(name, 0)) for name in ASIDE})
    total: Counter[str] = Counter()
    for part in parts_of([manifest.stats]):
        total.update(part.get("reasons", {}))
    return total


def _rows(store: Store, stage: str, manifest: Manifest, reason: str) -> Iterator[dict[str, Any]]:
    folder, about = store.local(manifest), {"stage": stage, "shard": manifest.shard, "reason": reason}
    if stage == READ:
        yield from _unreadable(folder / "aux" / UNREADABLE_FILE, about)
        return
    import pyarrow.compute as pc
    import pyarrow.parquet as parquet

    names = ("detail", "source", "uri", "part", "text")
    for batch in parquet.ParquetFile(folder / "aux" / REJECTS_FILE).iter_batches(batch_size=1000):
        for row in batch.filter(pc.equal(batch.column("reason"), reason)).select(names).to_pylist():
            yield about | row


def _unreadable(notes: Path, about: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if not notes.exists():  # it is begun with the first row that is set aside
        return
    with notes.open(encoding="utf-8") as lines:
        for note in map(json.loads, lines):
            if about["reason"] == ("empty" if note["reason"] == "is empty" else "unreadable"):
                yield about | {"detail": note["reason"], "uri": f"{note['file']}, {note['position']}", "text": ""}
