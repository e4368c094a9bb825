"""What the sources hold now, dealt into shards that growth never re-forms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from conf.schema.data import CollectConf, SourceConf
from tasks.collect import source_kinds
from tasks.collect.document_writer import named
from tasks.collect.source_kinds import Entry
from tasks.core.errors import DataError

Shard = dict[str, Any]
"""{"shard": its name, "source": its source, "entries": [Entry, …] sorted by uri}"""
Assignment = dict[str, dict[str, Any]]
"""Which uris each shard holds: {shard: {"source": …, "uris": […]}}; what is remembered between runs."""


def observe_sources(conf: CollectConf, previous: Assignment | None = None) -> list[Shard]:
    """List every source and deal its entries into shards.

    `previous` is what `assignment_of` gave after the last accepted run: its entries stay where they are, new ones go
    into new shards, shards without entries are left out. Raises `DataError` for a source that lists nothing or has
    lost more than `conf.max_entry_loss` of its entries, and what the source's own listing raises.
    """
    shards: list[Shard] = []
    for source, options in conf.sources.items():
        before = {name: had for name, had in (previous or {}).items() if had["source"] == source}
        known = [uri for had in before.values() for uri in had["uris"]]
        entries = list_entries(source, options, known)
        _check_shrinkage(source, entries, known, conf.max_entry_loss)
        shards += deal(source, entries, before, int(conf.shard_mb * 1e6))
    return shards


def list_entries(source: str, options: SourceConf, known: Iterable[str] = ()) -> list[Entry]:
    """The entries of one source, the `known` key ranges of a query among them; raises `DataError` if there is none."""
    kind = source_kinds.kind(options.kind)
    entries = kind.entries(source, options, known)
    if not entries:
        raise DataError(f"source {source!r} lists nothing: see data.sources.{source}")
    if not any(entry["size"] for entry in entries):
        where = f"data.sources.{source}.{kind.place}"
        raise DataError(f"{named(entries)}: nothing but empty files: fill them, or see {where}")
    return entries


def deal(source: str, entries: Iterable[Entry], before: Assignment, limit: int) -> list[Shard]:
    """Deal entries into shards of at most `limit` bytes (a larger entry has one of its own); old ones stay.

    The outcome depends on the set of entries and on `before`, not on the order of the listing.
    """
    waiting = {entry["uri"]: entry for entry in sorted(entries, key=lambda entry: str(entry["uri"]))}
    dealt = {name: [waiting.pop(uri) for uri in sorted(had["uris"]) if uri in waiting] for name, had in before.items()}
    number = 1 + max((int(name.rpartition("-")[2]) for name in before), default=-1)
    current: list[Entry] | None = None
    filled = 0
    for entry in waiting.values():
        if current is None or filled + entry["size"] > limit:
            current, filled = [], 0
            dealt[f"{source}-{number:03d}"] = current
            number += 1
        current.append(entry)
        filled += entry["size"]
    return [{"shard": name, "source": source, "entries": held} for name, held in sorted(dealt.items()) if held]


def assignment_of(shards: Iterable[Mapping[str, Any]], previous: Assignment | None = None) -> Assignment:
    """What to remember of the shards of an accepted run.

    With `previous`, the names of shards that have emptied stay taken, and a source that is out of the config for now
    keeps its assignment.
    """
    now = {
        shard["shard"]: {"source": shard["source"], "uris": [entry["uri"] for entry in shard["entries"]]}
        for shard in shards
    }
    present = {held["source"] for held in now.values()}
    for name, had in (previous or {}).items():
        if name not in now:
            now[name] = {"source": had["source"], "uris": []} if had["source"] in present else had
    return now


def _check_shrinkage(source: str, entries: list[Entry], before: list[str], limit: float) -> None:
    if len(entries) < (1 - limit) * len(before):
        gone = [{"uri": uri} for uri in sorted(set(before) - {entry["uri"] for entry in entries})]
        raise DataError(
            f"source {source!r} lists {len(entries)} entries where it had {len(before)}; gone: {named(gone)}. That is "
            f"a loss of more than {limit:.0%} (data.max_entry_loss). If it is meant, run once with "
            f"data.max_entry_loss=1; for another corpus give the source another name than {source}"
        )
