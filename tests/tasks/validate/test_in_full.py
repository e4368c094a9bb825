"""Whole shards checked row by row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from conf.schema.validate import ExpectationConf
from tasks.core.errors import StepError
from tasks.validate import in_full, suite_tables
from tests.tasks.validate.conftest import docs_in, table_of

SUITE = [
    {"expectation": "expect_column_values_to_not_be_null", "column": "text"},
    {
        "expectation": "expect_column_values_to_match_regex",
        "column": "text",
        "kwargs": {"regex": "good", "mostly": 0.9},
    },
    {
        "expectation": "expect_column_values_to_match_regex",
        "column": "uri",
        "kwargs": {"regex": "x"},
        "kinds": ["http"],
    },
    {"expectation": "expect_column_values_to_be_unique", "column": "id"},
    {"expectation": "expect_table_row_count_to_equal", "kwargs": {"value": 1}},
    {"expectation": "expect_column_max_to_be_between", "column": "rows", "table": "statistics"},
]


def checked(folder: Path, texts: list[str | None], **wanted: Any) -> list[tuple[Any, ...]]:
    suite = [ExpectationConf.model_validate({"table": "sample"} | one | wanted) for one in SUITE]
    docs = docs_in(folder, "own-000", table_of(texts)) / "docs.parquet"
    found = in_full.check(suite, "own-000", "files", suite_tables.rows_of(docs, "own-000", "files"))
    return [
        (one.expectation.removeprefix("expect_column_values_to_"), one.success, one.observed, one.blamed)
        for one in found
    ]


@pytest.mark.parametrize("rows", [1, 3, 2000])
def test_every_row_counts_whatever_the_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(suite_tables, "BATCH_ROWS", rows)
    texts = [f"good {n}" for n in range(9)]
    bad = "2 of 12 rows ('bad 1', 'bad 2')"
    assert checked(tmp_path, [*texts, "bad 1", None, "bad 2"]) == [
        ("not_be_null", False, "1 of 12 rows (None)", {"own-000": "1 of 12 rows (None)"}),
        ("match_regex", False, bad, {"own-000": bad}),
    ]
    assert checked(tmp_path, [*texts, "bad 1", None])[1] == ("match_regex", True, "1 of 11 rows ('bad 1')", {})


def test_an_empty_shard_fails_nothing_and_a_check_that_fails_itself_is_no_finding(tmp_path: Path) -> None:
    assert [success for _, success, *_ in checked(tmp_path, [])] == [True, True]
    broken = ExpectationConf(
        expectation="expect_column_values_to_be_between", column="text", kwargs={"min_value": 1}, table="sample"
    )
    with pytest.raises(StepError, match="says nothing of the data"):
        in_full.check([broken], "a", "files", [pl.DataFrame({"text": ["x"]})])
