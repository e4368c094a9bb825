"""The languages of rows and shards, and expectations on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tasks.core.errors import DataError
from tasks.core.workdir import Workdir
from tasks.validate import row_languages, suite_tables
from tests.tasks.validate.conftest import table_of
from tests.tasks.validate.test_steps import profiled, validated

EN = "The library reads a table of numbers and gives back the mean of each column."
DE = "Die Bibliothek liest eine Tabelle mit Zahlen und gibt den Mittelwert jeder Spalte aus."
ENGLISH = [f"{EN} Number {n}." for n in range(15)]
GERMAN = [f"{DE} Nummer {n}." for n in range(5)]
ONLY_ENGLISH = {
    "expectation": "expect_column_values_to_be_in_set",
    "column": "lang",
    "kwargs": {"value_set": ["en"], "mostly": 0.9},
    "table": "sample",
}
MOSTLY = {
    "expectation": "expect_column_values_to_be_between",
    "column": "main_language_share",
    "kwargs": {"min_value": 0.9},
    "severity": "warning",
}


def said(*contents: str | None) -> list[dict[str, str | None]]:
    return [{"role": ("user", "assistant")[n % 2], "content": content} for n, content in enumerate(contents)]


def test_each_text_is_of_its_language_and_one_that_shows_none_of_none() -> None:
    assert row_languages.of_texts([EN, DE, "", None, "12 + 3"]) == ["en", "de", "und", "und", "und"]


def test_only_the_beginning_of_a_text_counts() -> None:
    assert row_languages.of_texts([(EN + " ") * 14 + (DE + " ") * 200]) == ["en"]


def test_a_conversation_is_of_the_language_that_is_spoken_not_of_its_roles() -> None:
    table = table_of(["user: Ja.\nassistant: Nein.", EN, "x"], messages=[said(DE, None), None, []])
    assert row_languages.marked(table)["lang"].to_list() == ["de", "en", "und"]


def test_a_language_is_that_which_cleaning_finds() -> None:
    from tasks.clean.languages import identify

    texts = [EN, DE, EN.upper(), "", "12 + 3", "def f(x): return x", "你好", "e\u0301te\u0301 a\u0300 la plage"]
    assert row_languages.of_texts(texts) == identify(pl.Series(texts))["lang"].to_list()


@pytest.mark.parametrize(
    ("langs", "expected"),
    [
        ([], ("und", 0.0, "")),
        (["de", "en", "en", "en"], ("en", 0.75, "en 0.75, de 0.25")),
        (["fr", "de"], ("de", 0.5, "de 0.50, fr 0.50")),
        ([*"aabcdefg"], ("a", 0.25, "a 0.25, b 0.12, c 0.12, d 0.12, e 0.12, 2 more")),
    ],
)
def test_a_shard_has_a_main_language_and_the_shares_of_some(langs: list[str], expected: tuple[Any, ...]) -> None:
    assert row_languages.statistics(pl.DataFrame({"lang": langs}, schema={"lang": pl.String})).row(0) == expected


def test_statistics_and_sample_of_a_profile_name_languages(tmp_path: Path) -> None:
    profiles = profiled(tmp_path, {"own-000": table_of([*ENGLISH, *GERMAN]), "own-001": table_of([])})
    statistics, sample, _ = suite_tables.of_profiles(profiles, 100)
    columns = statistics.select("main_language", "main_language_share", "languages").rows()
    assert columns == [("en", 0.75, "en 0.75, de 0.25"), ("und", 0.0, "")]
    assert sorted(sample["lang"]) == ["de"] * 5 + ["en"] * 15
    assert row_languages.by_source(sample) == {"own": "en 0.75, de 0.25"}


def test_expectations_on_languages_hold_of_statistics_of_sampled_rows_and_of_every_row(
    tmp_path: Path, work: Workdir, small_suite: None
) -> None:
    mixed = {"own-000": table_of(ENGLISH), "own-001": table_of([*ENGLISH, *GERMAN])}
    with pytest.raises(DataError) as caught:
        validated(tmp_path, mixed, work, full_shards=2, expectations=[ONLY_ENGLISH, MOSTLY])
    message = str(caught.value)
    assert "'lang'" in message and "5 of 35 rows" in message and "5 of 20 rows ('de'" in message
    assert "own-000" not in message and "main_language_share" not in message
    index = (work.aux / "data_docs/index.html").read_text()
    assert "main_language_share" in index and "<tr><td>own<td>en 0.86, de 0.14</tr>" in index


def test_the_language_of_every_row_is_found_only_if_an_expectation_asks_for_it(
    tmp_path: Path, work: Workdir, small_suite: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    rows_of = suite_tables.rows_of
    monkeypatch.setattr(suite_tables, "rows_of", lambda *given: asked.append(given[3]) or rows_of(*given))
    shard = {"own-000": table_of(ENGLISH)}
    validated(tmp_path / "a", shard, work, full_shards=1)
    validated(tmp_path / "b", shard, work, full_shards=1, expectations=[ONLY_ENGLISH])
    assert asked == [False, True]
