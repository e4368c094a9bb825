"""Small documents, shards and artifacts to validate."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tasks.core.artifact import Artifact
from tasks.core.workdir import Workdir
from tasks.validate import suites

SCHEMA: dict[str, Any] = {
    **dict.fromkeys(("id", "text", "source", "uri", "licence", "label"), pl.String),
    "messages": pl.List(pl.Struct({"role": pl.String, "content": pl.String})),
}

SUITE = """
- {expectation: expect_column_values_to_be_between, column: replacement_share, kwargs: {max_value: 0.01}}
- {expectation: expect_column_values_to_match_regex, column: uri, kwargs: {regex: '^\\S'}, table: sample}
- {expectation: expect_column_values_to_be_between, column: rows, kwargs: {min_value: 1}, table: corpus}
"""
"""A suite that is quick to run."""


def table_of(texts: Sequence[str | None], **columns: Any) -> pl.DataFrame:
    """A documents table of the texts; `columns` replace those that are made up."""
    rows = [
        {
            "id": hashlib.sha256(f"{number} {text}".encode()).hexdigest()[:32],
            "text": text,
            "source": "own",
            "uri": f"a.jsonl#{number}",
            "licence": "MIT",
            "label": None,
            "messages": None,
        }
        for number, text in enumerate(texts)
    ]
    table = pl.DataFrame(rows, schema=SCHEMA)
    return table.with_columns(pl.Series(name, values, dtype=SCHEMA[name]) for name, values in columns.items())


def artifact(root: Path, step: str, shard: str | None = None) -> Artifact:
    """The artifact whose files lie in `root`."""
    return Artifact(step, "key", "digest", {}, shard, None, root)


def docs_in(folder: Path, shard: str, table: pl.DataFrame, part: str = "") -> Artifact:
    """A shard of documents, or one with the table as its part."""
    path = folder / shard / "content" / part / "docs.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    table.write_parquet(path)
    return artifact(folder / shard, "fetch_shard", shard)


def work_in(folder: Path) -> Workdir:
    """A made work directory."""
    work = Workdir(folder)
    work.make()
    return work


@pytest.fixture
def work(tmp_path: Path) -> Workdir:
    """An empty work directory."""
    return work_in(tmp_path / "work")


@pytest.fixture
def small_suite(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three expectations in place of those that are shipped."""
    folder = tmp_path_factory.mktemp("suites")
    (folder / "documents.yaml").write_text(SUITE)
    monkeypatch.setattr(suites, "FOLDER", folder)
