"""The data's way: what went into each stage that lets documents out, and what became of those that did not come out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tasks.core.number_format import count, plural, share

DROPPING = {
    "split_shard": "admit",
    "clean_shard": "clean",
    "filter_shard": "deduplicate",
    "decontaminate_shard": "decontaminate",
}
"""Steps that drop documents, in their order, and what people call them."""
SELDOM = "admit"
"""The stage that lets everything through unless somebody says otherwise; it is named only when it drops something."""
ASIDE = ("repeated", "empty", "unreadable")
"""Rows that collecting does not count as documents."""

StatsOf = Callable[[str], Sequence[Mapping[str, Any]]]
"""The statistics of a step, one mapping for each shard; empty if there are none."""


@dataclass(frozen=True)
class Stage:
    """One stage over all shards: documents_in = documents_out + dropped + held_out."""

    name: str
    documents_in: int
    documents_out: int
    bytes_in: int | None
    bytes_out: int
    reasons: Mapping[str, int]
    """How many documents were dropped for each, the most frequent first."""
    held_out: int = 0
    """Documents that were kept for evaluation."""

    @property
    def dropped(self) -> int:
        """Documents that were dropped, for whatever reason."""
        return sum(self.reasons.values())


def funnel(stats_of: StatsOf) -> list[Stage]:
    """The way from collecting to decontamination: what comes out of a stage goes into the next; stages without
    statistics, and `SELDOM` if it drops nothing, are left out."""
    found = [_collected(stats_of("fetch_shard"))]
    for step, name in DROPPING.items():
        parts = parts_of(stats_of(step))
        if step == "decontaminate_shard" and parts:
            found.append(_held_out(stats_of("filter_shard")))
        found.append(_stage(name, parts))
    return [stage for stage in found if stage is not None and (stage.dropped or stage.name != SELDOM)]


def unmatched(stats: Iterable[Mapping[str, Any]]) -> list[str]:
    """Allowed licences that no document has, by the statistics of all shards' `split_shard`: misspelt, perhaps."""
    counts: Counter[str] = Counter()
    for one in stats:
        counts.update(one.get("licences", {}))
    return sorted(licence for licence, documents in counts.items() if not documents)


def sentence(stages: Sequence[Stage]) -> str:
    """The whole way in a sentence; empty without stages."""
    if not stages:
        return ""
    into, out = count(stages[0].documents_in), count(stages[-1].documents_out)
    dropped, held = count(sum(stage.dropped for stage in stages)), count(sum(stage.held_out for stage in stages))
    return f"Of {into} documents {out} are left; {dropped} were dropped, {held} held out for evaluation."


def set_aside(stats: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The shards that validation set aside, by the statistics of `validate_corpus`: documents, and why each failed."""
    return {shard: found for one in stats for shard, found in one.get("quarantined", {}).items()}


def without(aside: Mapping[str, Mapping[str, Any]]) -> str:
    """What was set aside in a sentence; empty if nothing was."""
    if not aside:
        return ""
    documents = plural(sum(int(one["documents"]) for one in aside.values()), "document")
    return f"{plural(len(aside), 'shard')} with {documents} set aside by validation: {', '.join(aside)}."


def anew(clustered: Sequence[Mapping[str, Any]]) -> str:
    """What finding duplicates without what earlier intakes decided would change, by the statistics of `cluster`; empty
    if that is nothing."""
    changes = [one.get("recomputed", {}) for one in clustered]
    dropped, accepted = total(changes, "dropped"), total(changes, "accepted")
    if not dropped and not accepted:
        return ""
    return (
        f"Deduplicating all anew (--refresh cluster) would drop {plural(dropped, 'document')} that earlier intakes "
        f"accepted and accept {count(accepted)} in their place."
    )


def overlapping(decontaminated: Iterable[Mapping[str, Any]], most: int = 10) -> list[tuple[str, int]]:
    """The evaluation documents that took most training documents out, with how many, by the statistics of
    `decontaminate_shard`."""
    found: Counter[str] = Counter()
    for one in decontaminated:
        found.update(one.get("evaluation_items", {}))
    return sorted(found.items(), key=lambda item: (-item[1], item[0]))[:most]


def again(repeated: Sequence[Mapping[str, Any]]) -> str:
    """How many documents are seen more than once, and what that adds, by the statistics of `repeat_shard`; empty
    without any."""
    repeated = [one for one in repeated if one]
    if not repeated:
        return ""
    documents, tokens = total(repeated, "repeated"), total(repeated, "tokens")
    most = max((int(n) for one in repeated for n in one["times"]), default=1)
    whole = total([one["once"] for one in repeated], "tokens")
    return (
        f"{plural(documents, 'training document')} seen more than once, by the size of the cluster of duplicates, and "
        f"{count(most)} times at most: {plural(tokens, 'token')} beside {count(whole)} ({share(tokens, whole)} more)."
        if documents
        else "No training document is seen more than once: none has a cluster of duplicates of a size in data.upsample."
    )


def source_of(shard: str | None) -> str:
    """The source that a shard belongs to: its name without the number."""
    return re.sub(r"-\d+$", "", shard or "all")


def by_source(step: str, shards: Iterable[tuple[str | None, Mapping[str, Any]]]) -> dict[str, Stage]:
    """What a step that drops documents did with those of each source, by the statistics of its shards."""
    own: dict[str, list[Mapping[str, Any]]] = {}
    for shard, stats in shards:
        own.setdefault(source_of(shard), []).append(stats)
    if step == "fetch_shard":
        found = {source: _collected(stats) for source, stats in own.items()}
    else:
        found = {source: _stage(DROPPING[step], parts_of(stats)) for source, stats in own.items()}
    return {source: stage for source, stage in sorted(found.items()) if stage is not None}


def parts_of(stats: Iterable[Mapping[str, Any]], name: str | None = None) -> list[Mapping[str, Any]]:
    """The parts (train, valid, test) of all shards, or those of one name."""
    return [part for one in stats for known, part in one.get("parts", {}).items() if name in (None, known)]


def total(parts: Iterable[Mapping[str, Any]], field: str) -> int:
    """The sum of a count."""
    return sum(int(part.get(field, 0)) for part in parts)


def _collected(fetched: Sequence[Mapping[str, Any]]) -> Stage | None:
    if not fetched:
        return None
    rows, aside = total(fetched, "rows"), Counter({name: total(fetched, name) for name in ASIDE})
    return Stage("collect", rows + aside.total(), rows, None, total(fetched, "bytes"), _ranked(aside))


def _held_out(filtered: Sequence[Mapping[str, Any]]) -> Stage | None:
    """The test part leaves for the evaluation set between deduplication and decontamination."""
    parts, tests = parts_of(filtered), parts_of(filtered, "test")
    if not tests:
        return None
    documents, volume = (total(parts, field) for field in ("documents_out", "bytes_out"))
    held, text = (total(tests, field) for field in ("documents_out", "bytes_out"))
    return Stage("hold out", documents, documents - held, volume, volume - text, {}, held)


def _stage(name: str, parts: Sequence[Mapping[str, Any]]) -> Stage | None:
    if not parts:
        return None
    reasons: Counter[str] = Counter()
    for part in parts:
        reasons.update(part.get("reasons", {}))
    into, out = total(parts, "documents_in"), total(parts, "documents_out")
    return Stage(name, into, out, total(parts, "bytes_in"), total(parts, "bytes_out"), _ranked(reasons))


def _ranked(counts: Counter[str]) -> dict[str, int]:
    return {name: n for name, n in counts.most_common() if n}
