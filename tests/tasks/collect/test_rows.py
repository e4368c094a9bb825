"""One row as a document, under its place in its file, or set aside."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from tasks.collect import rows
from tasks.collect.document_writer import Documents
from tasks.collect.sources.files import FilesSource
from tasks.collect.text_formats import Row
from tasks.core.errors import DataError

ENTRY = {"uri": "/data/a.jsonl", "name": "a.jsonl"}


def test_a_row_lies_under_its_place_in_the_file_and_a_page_under_its_address_too(tmp_path: Path) -> None:
    conf = FilesSource(kind="files", paths=("x",), text="body", max_bad_rows=1)
    with Documents(tmp_path / "docs.parquet", tmp_path / "notes", "own") as documents:
        rows.add(Row("line 7", {"body": "one"}), ENTRY, conf, documents)
        rows.add(Row("key a b", {"body": "two"}), ENTRY, conf, documents)
        rows.add(Row("file", {"text": "three"}, given=True), ENTRY, conf, documents)
        rows.add(Row("byte 9", {"text": "four"}, address="http://x/", given=True), ENTRY, conf, documents)
        rows.add(Row("line 8", {"text": "five"}), ENTRY, conf, documents)
        documents.check(conf.max_bad_rows)
        rows.add(Row("line 9", None, "is no JSON"), ENTRY, conf, documents)
        with pytest.raises(DataError, match=r"a\.jsonl, line 8: has no field 'body'.*2 unreadable.*max_bad_rows"):
            documents.check(conf.max_bad_rows)
    uris = pl.read_parquet(tmp_path / "docs.parquet")["uri"].to_list()
    assert uris == ["a.jsonl#7", "a.jsonl#a b", "a.jsonl", "a.jsonl!http://x/#9"]


def conversations(tmp_path: Path, *found: dict[str, object], **options: object) -> pl.DataFrame:
    (field,) = found[0]
    conf = FilesSource.model_validate({"kind": "files", "paths": ("x",), "messages": field, **options})
    with Documents(tmp_path / "docs.parquet", tmp_path / "notes", "own") as documents:
        for number, values in enumerate(found, 1):
            rows.add(Row(f"line {number}", values), ENTRY, conf, documents)
        documents.check(conf.max_bad_rows)
    return pl.read_parquet(tmp_path / "docs.parquet")


@pytest.mark.parametrize("names", [("human", "gpt"), ("user", "Assistant"), ("Prompter", "bot"), ("user", "model")])
def test_who_speaks_has_one_name_in_the_text_and_in_the_messages(tmp_path: Path, names: tuple[str, str]) -> None:
    turns = [{"role": names[0], "content": "Is it?"}, {"role": names[1], "content": "It is."}]
    (row,) = conversations(tmp_path, {"messages": turns}).iter_rows(named=True)
    assert [message["role"] for message in row["messages"]] == ["user", "assistant"]
    assert row["text"] == "user: Is it?\nassistant: It is."


def test_sharegpts_columns_are_a_conversation(tmp_path: Path) -> None:
    turns = [{"from": "system", "value": "Be brief."}, {"from": "human", "value": "?"}, {"from": "gpt", "value": "!"}]
    (row,) = conversations(tmp_path, {"conversations": turns}).iter_rows(named=True)
    assert row["messages"] == [
        {"role": role, "content": said} for role, said in (("system", "Be brief."), ("user", "?"), ("assistant", "!"))
    ]  # fmt: skip


def test_an_unknown_role_is_refused_with_its_place_and_known_once_it_is_named(tmp_path: Path) -> None:
    good = {"messages": [{"role": "user", "content": "a"}]}
    odd = {"messages": [{"role": "narrator", "content": "Night falls."}]}
    with pytest.raises(DataError, match=r"a\.jsonl, line 2: has the role 'narrator'.*data\.sources\.own\.roles=\{NAME"):
        conversations(tmp_path, good, odd)
    held = conversations(tmp_path, odd, roles={"narrator": "system"})
    assert held["messages"][0][0]["role"] == "system"


def test_a_conversation_where_a_text_is_asked_for_is_pointed_to(tmp_path: Path) -> None:
    conf = FilesSource(kind="files", paths=("x",))
    turns = [{"from": "human", "value": "?"}]
    with (
        Documents(tmp_path / "docs.parquet", tmp_path / "notes", "own") as documents,
        pytest.raises(DataError, match=r"data\.sources\.own\.messages=conversations, it is a conversation"),
    ):
        rows.add(Row("line 1", {"id": "1", "conversations": turns}), ENTRY, conf, documents)
        documents.check(conf.max_bad_rows)


@pytest.mark.parametrize(
    ("labels", "wanted"), [("aabb", 0), ("ab", 1), ("abab", 2), ([None, "a"], 0), (["a", None, "a"], 0)]
)
def test_equal_texts_with_two_labels_are_counted_and_warned_of(
    tmp_path: Path, labels: list[str | None], wanted: int
) -> None:
    with Documents(tmp_path / "docs.parquet", tmp_path / "notes", "own") as documents:
        for number, label in enumerate(labels):
            documents.add("the same text" if labels != "aabb" else f"text {number // 2}", "u", "CC0-1.0", label)
    stats = documents.finish([])
    assert stats.get("contradictions", 0) == wanted
    said = [one["text"] for one in stats.get("warnings", [])]
    assert len(said) == bool(wanted) and all("has another label already" in text for text in said)
