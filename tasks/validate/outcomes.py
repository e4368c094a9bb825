"""What came of an expectation: what was observed, where, and which shards are to blame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from conf.schema.validate import ExpectationConf
from tasks.core.errors import StepError
from tasks.validate import suites

if TYPE_CHECKING:
    import polars as pl

MANY = 8
"""Shards that are named."""
FEW = 3
"""Unexpected values that are shown."""


def short(value: Any, limit: int = 80) -> str:
    """A value as it is shown, cut to `limit` characters."""
    shown = f"{value:.6g}" if isinstance(value, float) else repr(value.item() if hasattr(value, "item") else value)
    return shown if len(shown) <= limit else f"{shown[:limit]}…"


@dataclass(frozen=True)
class Outcome:
    """What one expectation found."""

    expectation: str
    column: str | None
    table: str
    """statistics, sample, corpus, or full: every row of one shard."""
    severity: str
    success: bool
    expected: dict[str, Any]
    observed: str
    """The observed value, or how many rows are unexpected and the first of them."""
    shards: tuple[str, ...]
    """Where: those of the unexpected rows, or all where the expectation is on the table as a whole."""
    kinds: tuple[str, ...] = ()
    """The kinds of source that were looked at; none for all."""
    blamed: dict[str, str] = field(default_factory=dict)
    """The shards that fail by themselves, and what was observed there; none where only the whole can fail."""
    fix: str = ""
    """What can be done if it failed."""

    def to_json(self) -> dict[str, Any]:
        """The outcome as plain JSON values."""
        kept = {name: value for name, value in asdict(self).items() if name != "blamed"}
        return kept | {"shards": list(self.shards), "kinds": list(self.kinds)}

    @property
    def stops(self) -> bool:
        """It failed, and is critical."""
        return not self.success and self.severity == "critical"

    @property
    def wanted(self) -> str:
        """What was expected, and of what."""
        where = f"column {self.column!r}" if self.column else "the table"
        limits = ", ".join(f"{name}={value!r}" for name, value in sorted(self.expected.items()))
        of = f" of kind {', '.join(self.kinds)}" if self.kinds else ""
        return f"{self.expectation}({limits}) on {where} of {self.table}{of}"

    def __str__(self) -> str:
        shards = ", ".join(self.shards[:MANY]) + (
            f" and {len(self.shards) - MANY} more" if len(self.shards) > MANY else ""
        )
        found = f" in shard {shards}" if shards else ""
        return f"{self.wanted}: observed {self.observed}{found}{f': {self.fix}' if self.fix else ''}"


def outcome_of(wanted: ExpectationConf, result: Any, table: pl.DataFrame) -> Outcome:
    """What Great Expectations found about a table; raises `StepError` if the check itself failed."""
    refuse_broken(wanted, result)
    name = suites.snake(suites.class_name(wanted.expectation))
    success, found, blamed = bool(result.success), result.result, {}
    if "shard" in table.columns:
        table = table.filter(table["kind"].is_in(wanted.kinds)) if wanted.kinds else table
        shards = tuple(sorted(set(table["shard"])))
    else:
        shards = ()
    if "unexpected_count" in found:
        rows = found.get("unexpected_index_list") or []
        counts = Counter(str(row["shard"]) for row in rows if isinstance(row, dict))
        shards = tuple(sorted(counts))
        blamed = {} if success else _blamed(wanted, counts, found, table)
        first = ", ".join(short(value) for value in found["partial_unexpected_list"][:FEW])
        observed = f"{found['unexpected_count']} of {found['element_count']} rows" + (f" ({first})" if first else "")
    else:
        observed = short(found.get("observed_value"))
    return Outcome(
        name,
        wanted.column,
        wanted.table,
        wanted.severity,
        success,
        wanted.kwargs,
        observed,
        shards,
        wanted.kinds,
        blamed,
        wanted.fix,
    )


def _blamed(
    wanted: ExpectationConf, unexpected: Mapping[str, int], found: Mapping[str, Any], table: pl.DataFrame
) -> dict[str, str]:
    """The shards of which more rows are unexpected than the expectation's `mostly` lets pass, and what they show."""
    if not unexpected:
        return {}
    first = {
        str(row["shard"]): value
        for row, value in zip(reversed(found["unexpected_index_list"]), reversed(found["unexpected_list"]), strict=True)
    }
    if wanted.column is not None and "missing_count" in found:
        table = table.filter(table[wanted.column].is_not_null())
    judged = dict(table["shard"].value_counts().iter_rows())
    return {
        shard: short(first[shard]) if wanted.table == "statistics" else f"{number} of its rows ({short(first[shard])})"
        for shard, number in sorted(unexpected.items())
        if not enough(wanted, number, judged.get(shard, 0))
    }


def enough(wanted: ExpectationConf, unexpected: int, judged: int) -> bool:
    """As many of the judged rows are as expected as the expectation's `mostly` asks for."""
    return not judged or (judged - unexpected) / judged >= wanted.kwargs.get("mostly", 1.0)


def refuse_broken(wanted: ExpectationConf, result: Any) -> None:
    """Raise `StepError` if the check itself failed."""
    raised = _raised(result.exception_info)
    if raised:
        raise StepError(
            f"the check {suites.snake(suites.class_name(wanted.expectation))} on {wanted.column or 'the table'} of "
            f"{wanted.table} itself failed, which says nothing of the data: {raised}. Fix or drop it in the suite"
        )


def _raised(info: Mapping[str, Any]) -> str | None:
    reports = [info] if "raised_exception" in info else list(info.values())
    return next((str(report["exception_message"]) for report in reports if report["raised_exception"]), None)
