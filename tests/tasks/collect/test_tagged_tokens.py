"""Files of tokens with tags."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.collect.tagged_tokens import sentences
from tasks.text import targets
from tests.tasks.collect.conftest import Fetched


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_sentences_lie_between_blank_lines_and_fields_between_tabs_or_blanks(ending: str) -> None:
    given = ["-DOCSTART- -X- O O", "", "# a remark", "Ada NNP B-PER", "left VBD O", "", "New York\tB-LOC", "\t", ""]
    found = [(row.position, row.values) for row in sentences(f"{line}{ending}" for line in given)]
    assert found == [
        ("line 4", {"tokens": ["Ada", "left"], "tags": ["B-PER", "O"]}),
        ("line 7", {"tokens": ["New York"], "tags": ["B-LOC"]}),
    ]


def test_a_line_without_a_tag_is_named_and_its_sentence_set_aside() -> None:
    rows = list(sentences(["a O\n", "b\n", "\n", "c O\n"]))
    assert [(row.position, row.values is None, row.reason) for row in rows] == [
        ("line 1", True, "line 2 of it holds no token and tag"), ("line 4", False, ""),
    ]  # fmt: skip


def test_a_file_of_them_is_texts_with_spans(tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text("Ada B-PER\nleft O\n\nNew B-LOC\nYork I-LOC\n", encoding="utf-8")
    found = Fetched(tmp_path, kind="files", paths=[str(tmp_path / "a.conll")], text="tokens", columns={"tags": "tags"})
    assert found.texts == ["Ada left", "New York"]
    said = [targets.read(row["targets"]) for row in found.rows]
    assert said == [{"spans": [[0, 3, "PER"]]}, {"spans": [[0, 8, "LOC"]]}]
    assert [row["uri"] for row in found.rows] == ["a.conll#1", "a.conll#4"]
