"""Dictionaries with their index: a document of each entry, and what is wrong is named."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.collect.dictionaries import DIGITS, Entry, entries
from tasks.core.errors import DataError
from tests.tasks.collect.conftest import Fetched

ALPHABET = list(DIGITS)


def digits(value: int) -> str:
    """A number as an index writes it."""
    return (digits(value // 64) if value > 63 else "") + ALPHABET[value % 64]


def dictionary(path: Path, said: dict[str, str], more: str = "") -> None:
    """PATH.dict.dz and PATH.index, the lines `more` in that besides."""
    held, lines = b"", []
    for headword, text in said.items():
        lines.append(f"{headword}\t{digits(len(held))}\t{digits(len(text.encode()))}\n")
        held += text.encode()
    path.with_suffix(".dict.dz").write_bytes(gzip.compress(held))
    path.with_suffix(".index").write_text("".join(sorted(lines)) + more)


def test_each_entry_is_a_document_once_and_what_is_said_of_the_dictionary_is_none(tmp_path: Path) -> None:
    about = {"00-database-info": "All about tea.\n", "00databaseurl": "http://tea\n"}
    said = {"tea": "tea\n   A drink.\n", "thé": "thé\n   Une boisson.\n", "cup": "cup\n   A vessel.\n"}
    length = len("".join(about.values()))
    more = f"chai\t{digits(length)}\t{digits(len(said['tea']))}\n"
    (tmp_path / "in").mkdir()
    dictionary(tmp_path / "in/a", about | said, more)
    made = Fetched(tmp_path / "work", kind="files", paths=[str(tmp_path / "in")])
    assert made.texts == [*said.values()]
    assert made.rows[0]["uri"] == f"a.dict.dz#{length}"


@settings(max_examples=30)
@given(st.dictionaries(st.integers(0, 2**40), st.integers(0, 2**20), min_size=1, max_size=9))
def test_numbers_are_read_as_an_index_writes_them(tmp_path_factory: pytest.TempPathFactory, places: dict) -> None:
    path = tmp_path_factory.mktemp("in") / "a.index"
    path.write_text("".join(f"w{start}\t{digits(start)}\t{digits(size)}\n" for start, size in places.items()))
    assert entries(path) == [Entry(start, size, f"w{start}") for start, size in sorted(places.items())]


@pytest.mark.parametrize("line", ["tea", "tea\tA", "tea\t\tA", "tea\tA\t-B", "tea A B"])
def test_a_line_that_is_none_of_an_index_is_named_and_moving_the_index_away_helps(tmp_path: Path, line: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/b.txt").write_text("some text")
    dictionary(tmp_path / "in/a", {"cup": "cup\n   A vessel.\n"}, f"{line}\n")
    with pytest.raises(DataError, match=r"a\.index, line 2: is no line of an index .*move it away"):
        Fetched(tmp_path / "work", kind="files", paths=[str(tmp_path / "in")])
    (tmp_path / "in/a.index").unlink()
    assert Fetched(tmp_path / "again", kind="files", paths=[str(tmp_path / "in")]).texts == ["some text"]


def test_an_entry_beyond_the_file_is_a_bad_row(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    dictionary(tmp_path / "in/a", {"cup": "cup\n   A vessel.\n"}, f"zoo\t{digits(5)}\t{digits(900)}\n")
    with pytest.raises(DataError, match=r"ends beyond the file: its \.index belongs to another dictionary"):
        Fetched(tmp_path / "work", kind="files", paths=[str(tmp_path / "in")])
    assert len(Fetched(tmp_path / "w2", kind="files", paths=[str(tmp_path / "in")], max_bad_rows=1).texts) == 1


def test_another_index_makes_the_dictionary_another_one(tmp_path: Path) -> None:
    from tasks.collect.places import entries as listed

    dictionary(tmp_path / "a", {"cup": "cup\n   A vessel.\n"})
    before = listed("own", [str(tmp_path)])
    (tmp_path / "a.index").write_text(f"zoo\tA\t{digits(3)}\n")
    assert listed("own", [str(tmp_path)]) != before
