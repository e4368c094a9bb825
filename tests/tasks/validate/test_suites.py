"""Suites read from YAML."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from conf.schema.data import SOURCES
from conf.schema.validate import ExpectationConf
from tasks.core import plugins
from tasks.core.errors import ConfigError
from tasks.validate import in_full, suites
from tests.tasks.validate.conftest import table_of


@pytest.mark.parametrize("path", sorted(suites.FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_suite_can_be_read(path: Path) -> None:
    suite = suites.read(path)
    assert suite and all(suites.class_name(wanted.expectation) for wanted in suite)


@pytest.mark.parametrize("name", ["expect_column_kl_divergence_to_be_less_than", "ExpectColumnToExist"])
def test_names_are_taken_in_both_cases_and_shown_in_one(name: str) -> None:
    shown = suites.snake(suites.class_name(name))
    assert shown == suites.snake(name) and suites.class_name(shown) == suites.class_name(name)


def test_an_unknown_expectation_is_refused_with_the_nearest_names() -> None:
    with pytest.raises(ConfigError, match="nearest: expect_column_values_to_be_between"):
        suites.class_name("expect_column_value_to_be_between")


def test_the_expectation_whose_result_cannot_be_stored_is_refused_with_another_way() -> None:
    with pytest.raises(ConfigError, match="p01, p50 or p99"):
        suites.class_name("expect_column_quantile_values_to_be_between")


def test_an_own_expectation_takes_the_place_of_its_like(tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text("- {expectation: expect_column_max_to_be_between, column: rows, kwargs: {max_value: 1}}\n")
    own = ExpectationConf(expectation="ExpectColumnMaxToBeBetween", column="rows", kwargs={"max_value": 2})
    other = own.model_copy(update={"column": "bytes"})
    assert suites.read(path, [own, other]) == (own, other)


@pytest.mark.parametrize("text", ["rows: 1", "- {expectation: x, severity: fatal}", "- [", "- {column: rows}"])
def test_a_file_that_is_no_suite_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"suite\.yaml is no suite"):
        suites.read(path)


def test_a_kind_without_a_file_of_its_own_takes_the_base_and_what_all_share_stands_once() -> None:
    base = suites.read(suites.FOLDER / "documents.yaml")
    assert suites.of_kinds(["other", "other"]) == base
    both = suites.of_kinds(["http", "other"])
    limits = {one.kinds: one.kwargs["max_value"] for one in both if one.column == "pii_share"}
    assert limits == {("http",): 0.5, ("other",): 0.2}
    assert sum(one.column == "null_text" for one in both) == 1 and all(one.kinds != ("http", "other") for one in both)


def test_an_own_expectation_takes_the_place_of_every_kinds_or_of_those_that_it_names() -> None:
    own = ExpectationConf(expectation="ExpectColumnValuesToBeBetween", column="pii_share", kwargs={"max_value": 1})
    everywhere = suites.of_kinds(["files", "http"], [own])
    assert [one for one in everywhere if one.column == "pii_share"] == [own]
    named = suites.of_kinds(["chitchat", "files", "http"], [own.model_copy(update={"kinds": ("http",)})])
    limits = {one.kinds: one.kwargs["max_value"] for one in named if one.column == "pii_share"}
    assert limits == {("http",): 1, ("chitchat", "files"): 0.2}


def test_expectations_on_two_columns_are_told_apart_by_them() -> None:
    pair = {"expectation": "expect_column_pair_values_to_be_equal", "kwargs": {"column_A": "rows", "column_B": "bytes"}}
    found = suites.of_kinds(["chitchat"], [ExpectationConf.model_validate(pair)])
    assert sum(one.expectation == pair["expectation"] for one in found) == 2


def test_every_kind_of_source_has_a_suite_of_its_own() -> None:
    assert {path.stem for path in suites.FOLDER.glob("*.yaml")} >= {"documents", *plugins.names(*SOURCES)}


@pytest.mark.parametrize("kind", plugins.names(*SOURCES))
def test_a_kinds_suite_takes_none_of_the_critical_expectations_away(kind: str) -> None:
    held = {(one.expectation, one.column, one.table) for one in suites.of_kinds([kind]) if one.severity == "critical"}
    base = [one for one in suites.read(suites.FOLDER / "documents.yaml") if one.severity == "critical"]
    assert held >= {(one.expectation, one.column, one.table) for one in base}


USUAL = {
    "critical": {
        "files": ("%PDF-1.7 and so on", "PK\x03\x04 and so on", "{\\rtf1 and so on", " \n"),
        "chitchat": ("silence",),
        "hub": ("7c9e6679-7425-40de-944b-e07fc1f90ae7", "https://example.com/tea", "-12,500.00"),
        "sql": ("\\x255044462d312e37", "<memory at 0x7f00>", "b'tea'"),
    },
    "warning": dict.fromkeys(("http", "warc"), (" <!DOCTYPE html><html>", "Please enable JavaScript to see this page")),
}
CASES = [(kind, text, severity) for severity, of in USUAL.items() for kind, some in of.items() for text in some]


@pytest.mark.parametrize(("kind", "text", "severity"), CASES)
def test_what_is_usual_for_a_kind_is_found_in_its_rows(kind: str, text: str, severity: str) -> None:
    rows = table_of([text]).drop("messages").with_columns(pl.lit("a-000").alias("shard"), pl.lit(kind).alias("kind"))
    found = in_full.check(suites.of_kinds([kind]), "a-000", kind, [rows])
    assert severity in [outcome.severity for outcome in found if not outcome.success and outcome.column == "text"]
    good = in_full.check(
        suites.of_kinds([kind]), "a-000", kind, [rows.with_columns(pl.lit("user: Hello").alias("text"))]
    )
    assert all(outcome.success for outcome in good)
