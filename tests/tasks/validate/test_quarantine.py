"""Which shards are set aside."""

from __future__ import annotations

from typing import Any

import polars as pl

from conf.schema.validate import QuarantineConf
from tasks.validate import quarantine
from tasks.validate.outcomes import Outcome

STATISTICS = pl.DataFrame({"shard": ["a", "b", "c", "d"], "rows": [70, 10, 10, 10]})


def outcome(name: str, severity: str = "critical", **blamed: str) -> Outcome:
    return Outcome(name, "text", "sample", severity, False, {}, "3 of 9 rows", tuple(blamed), (), blamed)


def conf(**options: Any) -> QuarantineConf:
    return QuarantineConf(set_aside="shards", max_shards=2, max_row_share=0.2).model_copy(update=options)


def test_shards_fail_by_their_critical_outcomes_but_those_that_are_released() -> None:
    outcomes = [outcome("x", b="1", a="2"), outcome("y", b="3"), outcome("z", "warning", c="4"), outcome("whole")]
    found = quarantine.failing(outcomes, conf())
    assert list(found) == ["a", "b"] and [why.partition("(")[0] for why in found["b"]] == ["x", "y"]
    assert list(quarantine.failing(outcomes, conf(release=("a",)))) == ["b"]


def test_too_many_are_counted_in_shards_in_documents_and_against_all() -> None:
    assert quarantine.too_many(["b", "c"], STATISTICS, conf()) is None
    assert "2 of 4 shards fail (b, c) with 20 of 100" in str(quarantine.too_many("bc", STATISTICS, conf(max_shards=1)))
    assert "80 of 100 documents" in str(quarantine.too_many(["a", "b"], STATISTICS, conf()))
    some = STATISTICS.filter(pl.col("shard") == "b")
    assert quarantine.too_many(["b"], some, conf(max_row_share=1.0)) is not None


def test_a_released_outcome_is_a_warning_only_if_no_other_shard_fails() -> None:
    failed = outcome("x", a="1", b="2")
    assert quarantine.released(failed, conf(release=("a",))) == failed
    both = quarantine.released(failed, conf(release=("a", "b")))
    assert not both.stops and "released by the config" in str(both)
    assert quarantine.released(outcome("whole"), conf(release=("a",))).stops
