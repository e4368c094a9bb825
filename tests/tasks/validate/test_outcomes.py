"""What came of an expectation, and which shards are to blame."""

from __future__ import annotations

from typing import Any

import polars as pl

from conf.schema.validate import ExpectationConf
from tasks.validate import expectations
from tasks.validate.outcomes import Outcome

SAMPLE = pl.DataFrame(
    {
        "shard": ["a"] * 4 + ["b"] * 4 + ["c"] * 2,
        "kind": ["files"] * 8 + ["http"] * 2,
        "text": ["x", "x", "x", "y", "y", "y", "x", None, "x", "z"],
    }
)


def outcome(expectation: str, column: str | None = "text", kinds: tuple[str, ...] = (), **kwargs: Any) -> Outcome:
    wanted = ExpectationConf(expectation=expectation, column=column, kwargs=kwargs, kinds=kinds, table="sample")
    (found,), _ = expectations.run([wanted], {"sample": SAMPLE})
    return found


def test_a_shard_is_to_blame_if_it_fails_by_itself() -> None:
    found = outcome("expect_column_values_to_match_regex", regex="x", mostly=0.75)
    assert found.stops and found.shards == ("a", "b", "c")
    assert found.blamed == {"b": "2 of its rows ('y')", "c": "1 of its rows ('z')"}
    assert outcome("expect_column_values_to_match_regex", regex="x", mostly=0.5).blamed == {}


def test_nulls_count_where_they_are_looked_for() -> None:
    assert outcome("expect_column_values_to_not_be_null").blamed == {"b": "1 of its rows (None)"}
    assert outcome("expect_column_values_to_not_be_null", mostly=0.95).blamed.keys() == {"b"}


def test_what_only_the_whole_can_fail_is_no_shards_fault() -> None:
    found = outcome("expect_table_row_count_to_equal", None, value=3)
    assert found.stops and found.blamed == {} and found.shards == ("a", "b", "c")


def test_other_kinds_of_source_are_not_looked_at() -> None:
    found = outcome("expect_column_values_to_match_regex", kinds=("http",), regex="x")
    assert (found.observed, found.shards) == ("1 of 2 rows ('z')", ("c",))
    assert "on column 'text' of sample of kind http: observed" in str(found)
    assert outcome("expect_column_unique_value_count_to_be_between", kinds=("http",), max_value=2).success
    assert found.to_json()["kinds"] == ["http"] and "blamed" not in found.to_json()
