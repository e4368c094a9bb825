"""What a row holds, in all columns: nested fields, titles, labels from folders, and what cannot be stored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.collect.sources.files import FilesSource
from tasks.core.errors import DataError
from tests.tasks.collect.conftest import Fetched


def lines(path: Path, *found: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in found))


def fetched(tmp_path: Path, name: str, **source: Any) -> Fetched:
    return Fetched(tmp_path / "work", kind="files", paths=[str(tmp_path / name)], **source)


@pytest.mark.parametrize(
    ("field", "row", "text"),
    [
        ("paragraphs", {"paragraphs": ["One.", "Two."]}, "One.\n\nTwo."),
        ("a.b", {"a": {"b": "deep"}}, "deep"),
        ("a.b", {"a.b": "plain", "a": {"b": "deep"}}, "plain"),
        ("parts.text", {"parts": [{"text": ["One."]}, {"text": ["Two.", "Three."]}]}, "One.\n\nTwo.\n\nThree."),
    ],
)
def test_a_text_may_be_a_nested_field_and_a_list(tmp_path: Path, field: str, row: dict[str, Any], text: str) -> None:
    lines(tmp_path / "a.jsonl", row)
    assert fetched(tmp_path, "a.jsonl", text=field).texts == [text]
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "a.parquet")
    assert fetched(tmp_path, "a.parquet", text=field).texts == [text]


def test_a_title_is_put_above_a_text_that_does_not_begin_with_it(tmp_path: Path) -> None:
    rows = [{"t": "On tea", "text": "Hot."}, {"t": "On tea", "text": "On tea\nCold."}, {"t": None, "text": "None."}]
    lines(tmp_path / "a.jsonl", *rows)
    assert fetched(tmp_path, "a.jsonl", title="t").texts == ["On tea\n\nHot.", "On tea\nCold.", "None."]


def test_a_label_may_be_the_name_of_the_folder(tmp_path: Path) -> None:
    for name in ("in/calm/a.txt", "in/deep/rough/b.txt", "in/c.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"the text of {name}")
    labels = {row["uri"]: row["label"] for row in fetched(tmp_path, "in", label_from="folder").rows}
    assert labels == {"calm/a.txt": "calm", "deep/rough/b.txt": "rough", "c.txt": None}
    with pytest.raises(ValueError, match="two places of the label"):
        FilesSource(kind="files", paths=("x",), label="a", label_from="folder")


HALF, NUL = "half\ud83d", "zero\0"
TURN = {"role": "user", "content": "Hello"}


@pytest.mark.parametrize("bad", [HALF, NUL])
@pytest.mark.parametrize("column", ["label", "title", "messages", "text"])
def test_what_cannot_be_stored_is_set_aside_in_whatever_column_it_is(tmp_path: Path, column: str, bad: str) -> None:
    good = {"text": "fine", "label": "a", "title": "T", "messages": [TURN]}
    wrong = [{**TURN, "content": bad}] if column == "messages" else bad
    lines(tmp_path / "a.jsonl", good, {**good, column: wrong})
    options = {"messages": "messages"} if column == "messages" else {"title": "title"}
    with pytest.raises(DataError, match=r"a\.jsonl, line 2: .*(surrogate|NUL)"):
        fetched(tmp_path, "a.jsonl", label="label", **options)
    found = fetched(tmp_path, "a.jsonl", label="label", max_bad_rows=1, **options)
    assert (len(found.rows), found.stats[0]["unreadable"]) == (1, 1)


def test_a_label_as_long_as_a_text_is_none(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", {"text": "fine", "label": "a"}, {"text": "fine too", "label": "word " * 300})
    with pytest.raises(DataError, match=r"line 2: its label has 1,500 letters, more than 1,000"):
        fetched(tmp_path, "a.jsonl", label="label")


def test_all_that_is_wrong_in_a_shard_is_said_at_once_with_what_lets_it_in(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    lines(folder / "a.jsonl", *[{"text": f"row {n}"} if n % 2 else {"body": n} for n in range(60)])
    (folder / "b.jsonl").write_bytes(b'{"text": "caf\xe9"}\n{"text": "whole"}\n')
    (folder / "c.parquet").write_bytes(b"nope")
    (folder / "d.jsonl.gz").write_bytes(b"nope")
    (folder / "e.txt").write_text("the last one")
    (folder / "f.txt").write_text("x" * 1_100_000)
    with pytest.raises(DataError) as caught:
        fetched(tmp_path, "in", max_document_mb=1)
    said = str(caught.value)
    assert "32 unreadable rows in 3 files; max_bad_rows of the source allows 0" in said
    assert "2 unreadable files; max_bad_files of the source allows 0" in said
    for there in ("c.parquet", "d.jsonl.gz", "a.jsonl, line 1:", "encoding=auto may let 1 in", "max_bad_rows=32",
                  "max_document_mb may let 1 in", "max_bad_files=2", "and 12 more", "data.sources.own"):  # fmt: skip
        assert there in said, said
    found = fetched(tmp_path, "in", max_document_mb=1, max_bad_rows=32, max_bad_files=2)
    assert (len(found.rows), found.stats[0]["unreadable_files"]) == (32, 2)


def test_a_header_that_names_a_column_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,label,text\na,b,c\n")
    with pytest.raises(DataError, match=r"a\.csv, line 1: names the column 'text' 2 times \(columns 1 and 3\)"):
        fetched(tmp_path, "a.csv")
    (tmp_path / "b.tsv").write_text("n\tn\ttext\n1\t2\ta\n")
    with pytest.raises(DataError, match=r"names the column 'n' 2 times"):
        fetched(tmp_path, "b.tsv")
    pq.write_table(pa.table([["a"], ["b"]], names=["text", "text"]), tmp_path / "c.parquet")
    with pytest.raises(DataError, match=r"c\.parquet: names the column 'text' 2 times"):
        fetched(tmp_path, "c.parquet")


def test_quotes_that_may_be_none_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('text\tlabel\n"Twas night\ta\nand so he said bye"\tb\nplain\tc\n')
    with pytest.raises(DataError, match=r"a\.tsv, line 2: 2 lines are one record.*`quoting: none`.*`quoting: double`"):
        fetched(tmp_path, "a.tsv")
    none = fetched(tmp_path, "a.tsv", quoting="none", label="label")
    assert [(row["text"], row["label"]) for row in none.rows] == [
        ('"Twas night', "a"), ('and so he said bye"', "b"), ("plain", "c"),
    ]  # fmt: skip
    assert fetched(tmp_path, "a.tsv", quoting="double").texts == ["Twas night\ta\nand so he said bye", "plain"]
    (tmp_path / "b.csv").write_text('n,text\n1,"several\nlines, of one text"\n2,"and ""quotes"""\n')
    assert fetched(tmp_path, "b.csv").texts == ["several\nlines, of one text", 'and "quotes"']
    (tmp_path / "c.tsv").write_text('text\tn\n"Hello" he said\t1\n')
    with pytest.raises(DataError, match="`quoting: none`"):
        fetched(tmp_path, "c.tsv")
    assert fetched(tmp_path, "c.tsv", quoting="none").texts == ['"Hello" he said']


def test_what_an_unreadable_file_needs_is_said_and_not_where_fromzero_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pl.DataFrame({"text": ["a"]}).write_parquet(tmp_path / "a.parquet")
    real = Path.open

    def refuse(self: Path, *words: Any, **named: Any) -> Any:
        if self.name in ("a.parquet", "b.txt"):
            raise PermissionError(13, "Permission denied", str(self))
        return real(self, *words, **named)

    (tmp_path / "b.txt").write_text("b")
    monkeypatch.setattr(Path, "open", refuse)
    for name in ("a.parquet", "b.txt"):
        with pytest.raises(DataError, match=rf"{name}: may not be read .*chmod") as caught:
            fetched(tmp_path, name)
        assert "FROMZERO_HOME" not in str(caught.value)
