"""One row as a document, under its place in its file, or set aside."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from conf.schema.data import FilesSource
from tasks.collect import rows
from tasks.collect.documents import Documents
from tasks.collect.formats import Row
from tasks.core.errors import DataError

ENTRY = {"uri": "/data/a.jsonl", "name": "a.jsonl"}


def test_a_row_lies_under_its_place_in_the_file_and_a_page_under_its_address_too(tmp_path: Path) -> None:
    conf = FilesSource(kind="files", paths=("x",), text="body", max_bad_rows=1)
    with Documents(tmp_path / "docs.parquet", tmp_path / "notes", "own") as documents:
        rows.add(Row("line 7", {"body": "one"}), ENTRY, conf, documents)
        rows.add(Row("key a b", {"body": "two"}), ENTRY, conf, documents)
        rows.add(Row("file", {"text": "three"}), ENTRY, conf, documents)
        rows.add(Row("byte 9", {"text": "four"}, address="http://x/"), ENTRY, conf, documents)
        rows.add(Row("line 8", {"text": "five"}), ENTRY, conf, documents)
        with pytest.raises(DataError, match=r"a\.jsonl, line 8: has no field 'body'.*2 unreadable.*max_bad_rows"):
            rows.add(Row("line 9", None, "is no JSON"), ENTRY, conf, documents)
    uris = pl.read_parquet(tmp_path / "docs.parquet")["uri"].to_list()
    assert uris == ["a.jsonl#7", "a.jsonl#a b", "a.jsonl", "a.jsonl!http://x/#9"]
