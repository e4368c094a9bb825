"""A shard's statistics and sample."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from tasks.validate import statistics
from tests.tasks.validate.conftest import docs_in, table_of


def profile_of(tmp_path: Path, table: pl.DataFrame) -> dict[str, object]:
    docs = docs_in(tmp_path, "own-000", table)
    return statistics.profile(docs / "docs.parquet", "own-000", "own", "files").row(0, named=True)


def test_counts_and_lengths_are_those_of_the_rows(tmp_path: Path) -> None:
    row = profile_of(tmp_path, table_of(["a" * n for n in range(1, 101)], label=["x", "y"] * 50))
    expected = {"shard": "own-000", "rows": 100, "bytes": 5050, "characters": 5050, "mean_length": 50.5, "longest": 100}
    assert {name: row[name] for name in expected} == expected
    assert (row["labelled"], row["labels"], row["p50"], row["p01"]) == (100, 2, 50, 1)


def test_shares_are_measured_as_they_are_named(tmp_path: Path) -> None:
    texts = [
        "ab\ufffd\ufffd\x01\x80é!",
        "Same  text",
        "same text ",
        "mail a.b@example.com",
        "+49 (30) 123-4567",
        "é" * 5,
    ]
    row = profile_of(tmp_path, table_of(texts, licence=["MIT", None, "unknown", "MIT", "MIT", "MIT"]))
    characters = sum(map(len, texts))
    assert row["replacement_share"] == pytest.approx(2 / characters)
    assert row["control_share"] == pytest.approx(2 / characters)
    assert row["non_ascii_share"] == pytest.approx(9 / characters)
    assert row["duplicate_share"] == pytest.approx(1 / 6)
    assert row["pii_share"] == pytest.approx(2 / 6)
    assert row["without_licence"] == 2


def test_null_empty_and_repeated_rows_are_counted(tmp_path: Path) -> None:
    row = profile_of(tmp_path, table_of([None, " \n", "", "x"], id=["1", "1", "2", "3"]))
    assert (row["null_text"], row["empty_text"], row["duplicate_ids"]) == (1, 2, 1)


def test_an_empty_table_has_a_row_of_zeros(tmp_path: Path) -> None:
    row = profile_of(tmp_path, table_of([]))
    named = [row.pop(name) for name in ("shard", "source", "kind")]
    assert named == ["own-000", "own", "files"] and set(row.values()) == {0}


def test_a_sample_does_not_depend_on_the_rows_order(tmp_path: Path) -> None:
    table = table_of([f"text {n}" for n in range(500)])
    one = docs_in(tmp_path / "a", "own-000", table)
    two = docs_in(tmp_path / "b", "own-000", table.reverse())
    first, second = (statistics.sample(docs / "docs.parquet", 20) for docs in (one, two))
    assert first.equals(second) and first.height == 20
    assert set(first["id"]) == set(sorted(table["id"])[:20])
