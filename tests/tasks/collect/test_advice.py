"""What a message about unreadable data advises lets the same data in."""

from __future__ import annotations

import bz2
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conf.schema.data import CollectConf
from tasks.collect.steps import assignment_of, observe_sources
from tasks.core.errors import DataError, FromzeroError
from tests.tasks.collect.conftest import Fetched

Write = Callable[[Path], object]
LONG = "The harbour lay quiet in the morning. " * 20
QUOTES = 'n,text\n1,"b\n2,c"\n3,d\n'
"""Quotes by which two lines are one record; each line is one without them."""


def text(name: str, data: str | bytes) -> Write:
    return lambda folder: (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


def rows(name: str, *found: Any) -> Write:
    return text(name, "".join(json.dumps(row) + "\n" for row in found))


def damaged(folder: Path) -> None:
    (folder / "good.txt").write_text("some text")
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(b'{"text": "x"}\n' * 99)[:-9])


def named_like_a_file(folder: Path) -> None:
    (folder / "notes.txt").mkdir()
    (folder / "notes.txt" / "a.txt").write_text("some text")


@pytest.mark.parametrize(
    ("write", "given", "said", "advice"),
    [
        (text("a.txt", "Où est le café ? ".encode("cp1252") * 20), {}, "encoding=auto", {"encoding": "auto"}),
        (text("a.txt", "Où est le café ?".encode("utf-16")), {}, "`encoding: utf-16`", {"encoding": "utf-16"}),
        (text("a.txt", "Où est le café ?".encode("utf-16")), {}, "or auto", {"encoding": "auto"}),
        (text("a.csv", QUOTES), {}, "`quoting: none`", {"quoting": "none"}),
        (text("a.csv", QUOTES), {}, "`quoting: double`", {"quoting": "double"}),
        (text("a.csv", 'n,text\n1,a "b" c\n2,"d" e\n'), {}, "`quoting: none`", {"quoting": "none"}),
        (text("a.txt", LONG * 3_000), {"max_document_mb": 1}, "max_document_mb may let", {"max_document_mb": 64}),
        (rows("a.jsonl", {"story": LONG}), {}, "text (or label, title, messages, columns) may let", {"text": "story"}),
        (text("a.csv", f"n,story\n1,{LONG}\n"), {}, "name the right one (text,", {"text": "story"}),
        (rows("a.jsonl", {"talk": [{"role": "user", "content": "a?"}, {"role": "assistant", "content": "b."}]}), {},
         "data.sources.own.messages=talk", {"messages": "talk"}),
        (rows("a.jsonl", {"text": LONG}, {"text": 5}, [1]), {}, "max_bad_rows=2", {"max_bad_rows": 2}),
        (damaged, {}, "max_bad_files=1", {"max_bad_files": 1}),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, dict) else value if isinstance(value, str) else "",
)  # fmt: skip
def test_the_option_that_a_message_names_lets_the_data_in(
    tmp_path: Path, write: Write, given: dict[str, Any], said: str, advice: dict[str, Any]
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    write(folder)
    source = {"kind": "files", "paths": [str(folder)], **given}
    with pytest.raises(FromzeroError) as caught:
        Fetched(tmp_path / "before", **source)
    assert said in str(caught.value), caught.value
    assert Fetched(tmp_path / "after", **{**source, **advice}).texts


def test_the_glob_that_a_message_names_finds_the_files_of_a_folder_named_like_one(tmp_path: Path) -> None:
    named_like_a_file(tmp_path)
    with pytest.raises(FromzeroError, match=r"name its files with a glob \((\S+)\)") as caught:
        Fetched(tmp_path / "before", kind="files", paths=[str(tmp_path)])
    glob = str(caught.value).partition("with a glob (")[2].partition(")")[0]
    assert Fetched(tmp_path / "after", kind="files", paths=[glob]).texts == ["some text"]


def test_renaming_a_column_that_stands_twice_lets_the_file_in(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,text\none,two\n")
    with pytest.raises(FromzeroError, match="rename all but one"):
        Fetched(tmp_path / "before", kind="files", paths=[str(path)])
    path.write_text("text,other\none,two\n")
    assert Fetched(tmp_path / "after", kind="files", paths=[str(path)]).texts == ["one"]


def test_a_compressed_table_that_is_unpacked_as_told_can_be_looked_into(tmp_path: Path) -> None:
    from tasks.collect.steps import survey
    from tests.tasks.collect.test_warc import page, record

    records = b"".join(record(f"http://x/{n}", page("tea")) for n in range(3))
    (tmp_path / "a.warc.bz2").write_bytes(bz2.compress(records))
    with pytest.raises(DataError, match="unpack it first, so that `fromzero init` can look into it"):
        survey(tmp_path)
    (tmp_path / "a.warc").write_bytes(bz2.decompress((tmp_path / "a.warc.bz2").read_bytes()))
    (tmp_path / "a.warc.bz2").unlink()
    assert survey(tmp_path).groups[0].documents == 3


@pytest.mark.parametrize("way", ["limit", "name"])
def test_files_that_are_gone_are_accepted_as_told(tmp_path: Path, way: str) -> None:
    for n in range(4):
        (tmp_path / f"{n}.txt").write_text(f"text {n}")

    def conf(name: str, **options: Any) -> CollectConf:
        sources = {name: {"kind": "files", "paths": [str(tmp_path)]}}
        return CollectConf.model_validate({"sources": sources, **options})

    before = assignment_of(observe_sources(conf("own")))
    for n in range(3):
        (tmp_path / f"{n}.txt").unlink()
    with pytest.raises(DataError, match=r"run once with data\.max_entry_loss=1; for another corpus give the source an"):
        observe_sources(conf("own"), before)
    (shard,) = observe_sources(conf("own", max_entry_loss=1) if way == "limit" else conf("other"), before)
    assert len(shard["entries"]) == 1
