"""One row as a document, under its place in its file, or set aside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tasks.collect import rows
from tasks.collect.document_writer import Documents
from tasks.collect.sources.files import FilesSource
from tasks.collect.text_formats import Row
from tasks.core.errors import DataError
from tasks.text import roles, targets

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


ALPACA: dict[str, Any] = {"user": ["instruction", "input"], "assistant": ["output"]}


def asked_and_answered(tmp_path: Path, turns: dict[str, Any], *found: dict[str, Any]) -> pl.DataFrame:
    conf = FilesSource.model_validate({"kind": "files", "paths": ("x",), "turns": turns})
    with Documents(tmp_path / "docs.parquet", tmp_path / "notes", "own") as documents:
        for number, values in enumerate(found, 1):
            rows.add(Row(f"line {number}", values), ENTRY, conf, documents)
        documents.check(conf.max_bad_rows)
    return pl.read_parquet(tmp_path / "docs.parquet")


def test_a_question_and_its_answer_in_columns_are_a_conversation(tmp_path: Path) -> None:
    made = asked_and_answered(
        tmp_path,
        {"system": ["system"], **ALPACA},
        {"system": "Be brief.", "instruction": "Add up.", "input": "2 and 3", "output": "5"},
        {"system": "", "instruction": "Say hello.", "input": "", "output": "Hello!"},
        {"instruction": "Say 你好。", "input": None, "output": "你好"},
    )
    assert [[(turn["role"], turn["content"]) for turn in talk] for talk in made["messages"].to_list()] == [
        [("system", "Be brief."), ("user", "Add up.\n\n2 and 3"), ("assistant", "5")],
        [("user", "Say hello."), ("assistant", "Hello!")],
        [("user", "Say 你好。"), ("assistant", "你好")],
    ]
    assert made["text"][1] == "user: Say hello.\nassistant: Hello!"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            {"instruction": "Add up.", "output": ""},
            r"line 1: has no answer in 'output'; .*sources\.own\.turns",
        ),
        ({"instruction": "Add up.", "answer": "5"}, r"line 1: has no answer in 'output'; there are .*answer"),
        ({"instruction": ["Add"], "output": "5"}, r"line 1: its field 'instruction' holds .* where text should be"),
    ],
)
def test_a_row_without_its_answer_is_named(tmp_path: Path, row: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        asked_and_answered(tmp_path, ALPACA, row)


@pytest.mark.parametrize(
    ("turns", "more", "words"),
    [
        (ALPACA, {"messages": "talk"}, "messages and turns name two places"),
        ({"user": ["prompt"]}, {}, "turns need the assistant's column"),
    ],
)
def test_turns_that_say_two_things_or_half_of_one_are_refused(
    turns: dict[str, Any], more: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        FilesSource.model_validate({"kind": "files", "paths": ["x"], "turns": turns, **more})


def test_openai_s_parts_of_a_text_are_that_text() -> None:
    parts = [{"type": "text", "text": "What is "}, {"type": "text", "text": "this?"}]
    assert roles.turn({"role": "user", "content": parts}) == ("user", "What is this?")
    picture = [*parts, {"type": "image_url", "image_url": {"url": "x"}}]
    assert roles.turn({"role": "user", "content": picture}) is None


def kept(tmp_path: Path, *found: dict[str, Any], **options: Any) -> list[dict[str, Any]]:
    conf = FilesSource.model_validate({"kind": "files", "paths": ("x",), **options})
    with Documents(tmp_path / "docs.parquet", tmp_path / "notes", "own", targets=True) as documents:
        for number, values in enumerate(found, 1):
            rows.add(Row(f"line {number}", values), ENTRY, conf, documents)
        documents.check(conf.max_bad_rows)
    return [targets.read(said) for said in pl.read_parquet(tmp_path / "docs.parquet")["targets"]]


def test_columns_say_what_a_model_is_to_say_of_a_text(tmp_path: Path) -> None:
    rows_of = [{"text": "good tea", "stars": "4", "kinds": ["tea"]}, {"text": "no stars", "stars": None}]
    assert kept(tmp_path, *rows_of, columns={"number": "stars", "labels": "kinds"}) == [
        {"number": 4.0, "labels": ["tea"]}, {},
    ]  # fmt: skip


def test_tokens_with_tags_are_a_text_with_spans(tmp_path: Path) -> None:
    row = {"tokens": ["Ada", "left", "New", "York"], "ner": ["B-PER", "O", "B-LOC", "I-LOC"]}
    assert kept(tmp_path, row, text="tokens", columns={"tags": "ner"}) == [{"spans": [[0, 3, "PER"], [9, 17, "LOC"]]}]
    assert pl.read_parquet(tmp_path / "docs.parquet")["text"].to_list() == ["Ada left New York"]


def test_a_worse_answer_stands_beside_the_conversation(tmp_path: Path) -> None:
    row = {"prompt": "Hi", "chosen": "Hello!", "rejected": "Go away."}
    turns = {"user": ("prompt",), "assistant": ("chosen",)}
    assert kept(tmp_path, row, turns=turns, columns={"rejected": "rejected"}) == [{"rejected": "Go away."}]


@pytest.mark.parametrize(
    "said", ["Hello!", {"from": "gpt", "value": "Hello!"}, [{"role": "assistant", "content": "Hello!"}]]
)
def test_a_chosen_answer_ends_the_conversation(tmp_path: Path, said: Any) -> None:
    row = {
        "conversations": [{"from": "human", "value": "Hi"}],
        "chosen": said,
        "rejected": {"from": "gpt", "value": "No."},
    }
    columns = {"chosen": "chosen", "rejected": "rejected"}
    assert kept(tmp_path, row, messages="conversations", columns=columns) == [{"rejected": "No."}]
    assert pl.read_parquet(tmp_path / "docs.parquet")["text"].to_list() == ["user: Hi\nassistant: Hello!"]


@pytest.mark.parametrize(
    ("row", "columns", "words"),
    [
        ({"text": "a", "stars": "many"}, {"number": "stars"}, r"line 1: its field 'stars' holds 'many' where a number"),
        (
            {"text": "a", "e": [[0, 2, "x"]]},
            {"spans": "e"},
            r"has a span to character 2 of a text of 1",
        ),
        ({"t": ["O"]}, {"tags": "t"}, r"line 1: has no field 'text'"),
        ({"text": "a", "t": ["O"]}, {"tags": "t"}, r"its field 'text' holds text where a list of tokens should be"),
    ],
)
def test_a_column_that_does_not_hold_what_it_is_said_to_is_named(
    tmp_path: Path, row: dict[str, Any], columns: dict[str, str], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        kept(tmp_path, row, columns=columns)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"columns": {"tags": "t", "spans": "s"}}, "leave one out"),
        ({"columns": {"rejected": "r"}}, "say by messages or turns where that is"),
        ({"columns": {"tags": "t"}, "title": "head"}, "leave title, messages and turns out"),
        ({"columns": {"spans": "s"}, "title": "head"}, "leave title, messages and turns out"),
        ({"columns": {"spans": "s"}, "messages": "talk"}, "leave title, messages and turns out"),
        ({"columns": {"stars": "s"}}, "number"),
    ],
)
def test_columns_that_cannot_be_meant_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        FilesSource.model_validate({"kind": "files", "paths": ("x",), **options})
