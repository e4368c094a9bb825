"""Why no held-out document is left: which stage let the last ones go, and what changes that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from conf.schema.rules import RulesConf
from tasks.core.number_format import plural
from tasks.core.plan.planner import first_pending
from tasks.corpus.funnel import DROPPING, parts_of, total

OPTIONS = {
    "licence": "data.licences",
    "language": "data.clean.language",
    "near_duplicate": "data.dedup.threshold",
    "quarantine": "data.validation.quarantine",
    "too_long": "data.clean.max_characters",
    "too_slow": "data.clean.max_seconds",
}
"""What decides about reasons that are no rules of that name."""


def held_out(*stages: Sequence[Any]) -> Any:
    """What each stage did with held-out documents, as JSON: {stage: {in, out, reasons}}; each stage is given by its
    shards' artifacts. A plan gets what it waits for."""
    if pending := first_pending(stages):
        return pending
    found = {}
    for shards in stages:
        tests = parts_of((shard.stats for shard in shards), "test")
        reasons: Counter[str] = Counter()
        for part in tests:
            reasons.update(part.get("reasons", {}))
        found[DROPPING[shards[0].step]] = {
            "in": total(tests, "documents_in"), "out": total(tests, "documents_out"), "reasons": dict(reasons),
        }  # fmt: skip
    return found


def why_none(way: Mapping[str, Any]) -> str:
    """Which stage let the last held-out documents go, for what, and what changes that."""
    for stage, found in way.items():
        if found["in"] and not found["out"]:
            ranked = sorted(found["reasons"].items(), key=lambda item: (-item[1], item[0]))
            reasons = ", ".join(f"{name} {count:,}" for name, count in ranked)
            return (
                f"{stage} drops {found['in']:,} of {plural(found['in'], 'document')} that were held out: {reasons}. "
                f"{_fix(ranked[0][0])}`fromzero rejects last` shows what was dropped"
            )
    return "none was drawn: raise data.split.test, or add data"


def _fix(reason: str) -> str:
    """What decides about a reason, where that is one option."""
    if reason in RulesConf.model_fields:
        return f"Loosen data.clean.rules.{reason} (null turns the rule off); "
    return f"Loosen {OPTIONS[reason]}; " if reason in OPTIONS else ""
