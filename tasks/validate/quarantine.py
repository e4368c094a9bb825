"""Which shards are set aside so that the run can go on without them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from conf.schema.validate import QuarantineConf
from tasks.core.events import warn
from tasks.validate.outcomes import Outcome

if TYPE_CHECKING:
    import polars as pl


def failing(outcomes: Sequence[Outcome], conf: QuarantineConf) -> dict[str, list[str]]:
    """Why each shard fails that can be set aside: the critical expectations that it fails by itself, by its name.

    What only the corpus as a whole can fail is no shard's fault.
    """
    found: dict[str, list[str]] = {}
    for outcome in outcomes:
        if outcome.stops:
            for shard, observed in outcome.blamed.items():
                if shard not in conf.release:
                    found.setdefault(shard, []).append(f"{outcome.wanted}: {observed}")
    return dict(sorted(found.items()))


def too_many(aside: Collection[str], statistics: pl.DataFrame, conf: QuarantineConf) -> str | None:
    """What to say if so many shards fail that none is set aside."""
    total, rows = int(statistics["rows"].sum()), _rows(statistics, aside)
    if len(aside) <= conf.max_shards and rows <= conf.max_row_share * total and len(aside) < statistics.height:
        return None
    return (
        f"{len(aside)} of {statistics.height} shards fail ({', '.join(sorted(aside))}) with {rows} of {total} "
        f"documents: more than data.validation.quarantine sets aside (max_shards={conf.max_shards}, "
        f"max_row_share={conf.max_row_share}). To go on: fix the source, let single shards through with "
        "data.validation.quarantine.release, or raise these limits"
    )


def released(outcome: Outcome, conf: QuarantineConf) -> Outcome:
    """The outcome; a warning if only shards fail it that are to be let through."""
    if outcome.stops and outcome.blamed and outcome.blamed.keys() <= set(conf.release):
        return replace(outcome, severity="warning", observed=f"{outcome.observed}, released by the config,")
    return outcome


def stats(aside: Mapping[str, Sequence[str]], statistics: pl.DataFrame) -> dict[str, Any]:
    """`quarantined`: documents and reasons of each shard that was set aside; nothing if none was."""
    if not aside:
        return {}
    found = {shard: {"documents": _rows(statistics, [shard]), "failed": list(why)} for shard, why in aside.items()}
    for shard, one in found.items():
        warn(f"set aside: {shard} with {one['documents']} documents: {'; '.join(aside[shard])}")
    return {"quarantined": found}


def _rows(statistics: pl.DataFrame, shards: Collection[str]) -> int:
    return int(statistics.filter(statistics["shard"].is_in(list(shards)))["rows"].sum())
