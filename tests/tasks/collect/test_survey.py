"""What a first look at a folder finds: columns, encodings, conversations, labels, and what cannot be read."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.collect.steps import left_out_files, survey
from tasks.collect.survey import FILES, Survey
from tasks.core.errors import DataError
from tests.tasks.collect.test_dictionaries import dictionary
from tests.tasks.collect.test_warc import page, record, written

LONG = "The harbour lay quiet in the morning, and the letters came by the river. " * 3


def jsonl(path: Path, rows: int, row: Callable[[int], Any]) -> None:
    """JSON lines."""
    path.write_text("".join(json.dumps(row(n)) + "\n" for n in range(rows)))


def kinds(found: Survey) -> dict[str, tuple[Any, ...]]:
    """The one kind of each format, less the format."""
    return {group.kind[0]: group.kind[1:] for group in found.groups}


def test_the_column_of_text_is_found_in_each_format(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", 30, lambda n: {"id": n, "url": f"http://x/{n}", "body": LONG})
    (tmp_path / "b.csv").write_text("n,title,article\n" + f'1,short,"{LONG}"\n' * 3)
    (tmp_path / "c.tsv").write_text("n\tstory\n" + f"1\t{LONG}\n" * 3)
    pq.write_table(pa.table({"id": ["x"] * 3, "content": [LONG] * 3, "vector": [[1.0]] * 3}), tmp_path / "d.parquet")
    (tmp_path / "e.md").write_text(LONG)
    assert kinds(survey(tmp_path)) == {
        ".jsonl": ("utf-8", "body", None, None), ".csv": ("utf-8", "article", None, None),
        ".tsv": ("utf-8", "story", None, None), ".parquet": ("utf-8", "content", None, None),
        "text": ("utf-8", None, None, None),
    }  # fmt: skip


def test_a_label_is_a_column_named_so_with_few_values(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", 60, lambda n: {"text": f"{LONG} {n}", "category": "land" if n % 3 else "sea"})
    (group,) = survey(tmp_path).groups
    assert (group.kind[3], group.labels, group.documents) == ("category", {"land": 40, "sea": 20}, 60)
    jsonl(tmp_path / "a.jsonl", 60, lambda n: {"text": LONG, "category": f"unique {n}", "colour": "red"})
    assert survey(tmp_path).groups[0].kind[3] is None


def test_conversations_take_the_place_of_text(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "How are you?"}, {"role": "assistant", "content": "Well."}]
    jsonl(tmp_path / "a.jsonl", 5, lambda n: {"note": LONG, "turns": turns})
    (group,) = survey(tmp_path).groups
    assert group.kind == (".jsonl", "utf-8", None, None, "turns")
    assert group.beginnings[0] == "How are you?"


@pytest.mark.parametrize(
    ("encoding", "found"), [("utf-8-sig", "utf-8"), ("utf-16", "utf-16"), ("cp1252", "cp1252"), ("latin-1", "latin-1")]
)
def test_an_encoding_is_told_by_its_mark_or_by_what_cannot_be_utf_8(tmp_path: Path, encoding: str, found: str) -> None:
    text = "Où est le café?" + ("\x81" if encoding == "latin-1" else "")
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    assert survey(tmp_path).groups[0].kind[1] == found


def test_a_letter_that_is_cut_at_the_end_of_the_look_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x" + "é" * (1 << 18))
    assert survey(tmp_path).groups[0].kind[1] == "utf-8"


def test_files_that_cannot_be_read_are_left_out_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text(LONG)
    (tmp_path / "zeros.txt").write_bytes(b"\0\1\0\1")
    (tmp_path / "bad.parquet").write_bytes(b"nope")
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"text": "x"}\n' * 99)[:-9])
    (tmp_path / "empty.txt").touch()
    (tmp_path / "photo.jpg").touch()
    found = survey(tmp_path)
    assert {Path(one.uri).name for one in found.skipped} == {"zeros.txt", "bad.parquet", "cut.jsonl.gz"}
    assert (found.empty, found.others, found.groups[0].documents) == (1, {".jpg": 1}, 1)


def test_unreadable_rows_are_noted_with_their_place(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"text": "{LONG}"}}\n' * 9 + "{broken\n")
    assert "a.jsonl, line 10: is no JSON" in survey(tmp_path).groups[0].bad[0]
    (tmp_path / "a.jsonl").write_text(f'{{"text": "{LONG}"}}\n' * 9 + '{"other": 1}\n')
    assert "a.jsonl, line 10: its field 'text' holds no text" in survey(tmp_path).groups[0].bad[0]


def test_of_many_files_some_are_opened_and_all_are_counted(tmp_path: Path) -> None:
    for n in range(40):
        jsonl(tmp_path / f"{n}.jsonl", 10, lambda row: {"text": LONG})
    (group,) = survey(tmp_path).groups
    assert (len(group.entries), len(group.looks) <= FILES) == (40, True)
    assert 350 <= group.documents <= 450


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        survey(tmp_path / "none")
    with pytest.raises(DataError, match="is empty: put text into it"):
        survey(tmp_path)
    (tmp_path / "a.pdf").write_text("x")
    with pytest.raises(DataError, match="is a file: give the folder"):
        survey(tmp_path / "a.pdf")
    with pytest.raises(DataError, match="the folder holds no files ending in"):
        survey(tmp_path)
    jsonl(tmp_path / "numbers.jsonl", 5, lambda n: {"a": n, "b": [n]})
    with pytest.raises(DataError, match="no column holds text in most rows; there are 'a', 'b'"):
        survey(tmp_path)


@pytest.mark.parametrize("columns", [("role", "content"), ("from", "value")])
def test_conversations_are_seen_by_their_columns(tmp_path: Path, columns: tuple[str, str]) -> None:
    who, what = columns
    turns = [{who: "human", what: "What is it?"}, {who: "gpt", what: "A river."}]
    lines = [json.dumps({"id": str(n), "talk": turns}) for n in range(30)]
    (tmp_path / "talks.jsonl").write_text("\n".join(lines) + "\n")
    (group,) = survey(tmp_path).groups
    assert group.kind[2:] == (None, None, "talk")


@pytest.mark.parametrize("rows", [300, 40_000])
def test_the_label_of_a_file_that_is_sorted_by_class_is_found_and_its_values_are_counted(
    tmp_path: Path, rows: int
) -> None:
    jsonl(
        tmp_path / "a.jsonl", 3 * rows, lambda n: {"text": f"{LONG} {n}", "label": ("calm", "odd", "rough")[n // rows]}
    )
    (group,) = survey(tmp_path).groups
    assert group.kind[3] == "label" and set(group.labels) == {"calm", "odd", "rough"}
    assert all(0.8 * rows <= count <= 1.2 * rows for count in group.labels.values())
    assert 0.8 <= group.documents / (3 * rows) <= 1.2
    assert rows > 1_000 or (group.documents == 3 * rows and group.exact)


def test_a_label_of_which_each_file_has_one_value_is_found(tmp_path: Path) -> None:
    for name in ("calm", "odd", "rough"):
        jsonl(tmp_path / f"{name}.jsonl", 30, lambda n: {"text": f"{LONG} {n}", "meta": {"label": name}})  # noqa: B023
    (group,) = survey(tmp_path).groups
    assert (group.kind[3], group.labels) == ("meta.label", {"calm": 30, "odd": 30, "rough": 30})


def test_a_label_in_tables_and_separated_values_sorted_by_class_is_found(tmp_path: Path) -> None:
    names = [name for name in ("calm", "odd", "rough") for _ in range(2_000)]
    pq.write_table(pa.table({"text": [f"{LONG} {n}" for n in range(6_000)], "label": names}), tmp_path / "a.parquet")
    assert set(survey(tmp_path).groups[0].labels) == {"calm", "odd", "rough"}
    (tmp_path / "a.parquet").unlink()
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f'"{LONG * 9}",{name}\n' for name in names))
    (group,) = survey(tmp_path).groups
    assert set(group.labels) == {"calm", "odd", "rough"} and 5_000 <= group.documents <= 7_000


def test_folders_are_classes_where_they_seem_to_be(tmp_path: Path) -> None:
    for name in ("calm", "odd"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for n in range(12):
            (tmp_path / "train" / name / f"{n}.txt").write_text(f"{LONG} {n} {name}")
    (group,) = survey(tmp_path).groups
    assert (group.folders, group.labels) == (True, {"calm": 12, "odd": 12})
    (tmp_path / "train" / "calm").rename(tmp_path / "test")
    assert not survey(tmp_path).groups[0].folders


def test_the_text_is_chosen_by_what_it_holds_not_by_its_length_alone(tmp_path: Path) -> None:
    ids = [f"{n:064x}" * 3 for n in range(40)]
    rows: list[dict[str, Any]] = [{"id": one, "note": f"A short note of {n}."} for n, one in enumerate(ids)]
    jsonl(tmp_path / "a.jsonl", 40, lambda n: rows[n])
    assert survey(tmp_path).groups[0].kind[2] == "note"
    jsonl(
        tmp_path / "a.jsonl",
        40,
        lambda n: {"url": "https://example.com/" + "x" * 300, "body": {"said": ["今天早上", str(n)]}},
    )
    assert survey(tmp_path).groups[0].kind[2] == "body.said"
    jsonl(tmp_path / "a.jsonl", 40, lambda n: {"rights": LONG * 3, "story": f"{LONG} {n}", "title": f"On tea, {n}"})
    (group,) = survey(tmp_path).groups
    assert (group.kind[2], group.title) == ("story", "title")


def test_one_odd_file_among_many_is_noticed_wherever_it_lies(tmp_path: Path) -> None:
    for n in range(700):
        (tmp_path / f"{n}.txt").write_bytes(b"A caf\xe9 by the river. " * 9 if n == 431 else f"{LONG} {n}".encode())
    (group,) = survey(tmp_path).groups
    assert group.kind[1] == "auto" and {name: files for name, (files, _) in group.encodings.items()} == {
        "utf-8": 699, "cp1252": 1,
    }  # fmt: skip
    assert 0 < group.encodings["cp1252"][1] < 1


def test_mail_json_and_other_endings_are_looked_at(tmp_path: Path) -> None:
    (tmp_path / "a.mbox").write_bytes(b"From a@x Mon Jan  1 10:00:00 2001\nSubject: s\n\nWords.\n\n" * 30)
    (tmp_path / "b.eml").write_bytes(b"Subject: s\n\nOther words come here.\n")
    (tmp_path / "c.json").write_text(json.dumps([{"text": LONG}] * 7))
    (tmp_path / "d.ndjson.gz").write_bytes(gzip.compress(b'{"text": "Words of a text."}\n' * 5))
    (tmp_path / "e.docx").touch()
    (tmp_path / "f.dict.dz").touch()
    (tmp_path / "g.7z").touch()
    found = survey(tmp_path)
    assert {group.kind[0]: group.documents for group in found.groups} == {
        ".mbox": 30, ".eml": 1, ".json": 7, ".ndjson": 5,
    }  # fmt: skip
    assert found.others == {".docx": 1, ".dict without its .index": 1, ".7z": 1}
    assert "`7z x FILE`" in left_out_files(found.others)


@pytest.mark.parametrize("ending", ["zip", "tar.gz", "tgz", "tar"])
def test_archives_are_looked_into_and_their_columns_found(tmp_path: Path, ending: str) -> None:
    for n in range(2):
        members = {f"{k}.jsonl.gz": gzip.compress(b"".join(json.dumps({"n": i, "story": f"{LONG} {i}"}).encode() + b"\n"
                   for i in range(20))) for k in range(3)}  # fmt: skip
        members |= {"README.md": b"About it.", "photo.jpg": b"\xff\xd8"}
        archived(tmp_path / f"{n}.{ending}", members)
    (group,) = survey(tmp_path).groups
    assert group.kind == (".zip" if ending == "zip" else ".tar", "utf-8", "story", None, None)
    assert (len(group.entries), group.documents, group.bad) == (2, 2 * (3 * 20 + 1), [])
    archived(
        tmp_path / f"0.{ending}", {"a.txt": LONG.encode(), "b.txt": "Où est le café de la gare ? ".encode("cp1252") * 9}
    )
    archived(tmp_path / f"1.{ending}", {"c.txt": LONG.encode()})
    (group,) = survey(tmp_path).groups
    assert (group.kind[1], group.kind[2], group.documents) == ("auto", None, 3)


def archived(path: Path, members: dict[str, bytes]) -> None:
    """An archive of the form that its ending names."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as zipped:
            for name, data in members.items():
                zipped.writestr(name, data)
        return
    with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as tarred:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tarred.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
def test_web_archives_are_looked_into(tmp_path: Path, name: str) -> None:
    records = [record(f"http://x/{n}", page(f"tea {n}")) for n in range(60)]
    written(tmp_path / name, records)
    (group,) = survey(tmp_path).groups
    assert group.kind[0] == ".warc" and not group.bad and 50 <= group.documents <= 70
    assert any(beginning.startswith("On tea") for beginning in group.beginnings)


def test_a_dictionary_is_as_many_documents_as_it_has_entries(tmp_path: Path) -> None:
    entries = {f"word{n}": f"word{n}\n   {LONG} {n}\n" for n in range(30)}
    dictionary(tmp_path / "a", entries)
    (group,) = survey(tmp_path).groups
    assert (group.kind, group.documents, group.exact) == ((".dict", "utf-8", None, None, None), 30, True)


@pytest.mark.parametrize(
    ("row", "turns"),
    [
        ({"instruction": "Add up.", "input": "2 and 3", "output": "It is 5."},
         (("user", ("instruction", "input")), ("assistant", ("output",)))),
        ({"instruction": "Add up.", "context": "", "response": "It is 5.", "category": "sums"},
         (("user", ("instruction", "context")), ("assistant", ("response",)))),
        ({"system": "Be brief.", "prompt": "Add up.", "completion": "It is 5."},
         (("system", ("system",)), ("user", ("prompt",)), ("assistant", ("completion",)))),
        ({"Query": "Add up.", "Response": "It is 5."}, (("user", ("Query",)), ("assistant", ("Response",)))),
        ({"question": "What is it?", "answer": "It is 5.", "id": 3},
         (("user", ("question",)), ("assistant", ("answer",)))),
    ],
)  # fmt: skip
def test_a_question_and_its_answer_are_found_by_the_names_of_their_columns(
    tmp_path: Path, row: dict[str, Any], turns: Any
) -> None:
    jsonl(tmp_path / "tasks.jsonl", 30, lambda n: {**row, "n": n})
    found = survey(tmp_path)
    assert kinds(found) == {".jsonl": ("utf-8", None, None, turns)} and not found.groups[0].bad
    assert found.groups[0].beginnings == [" ".join(row[name] for name in dict(turns)["user"] if row[name])]


def test_a_text_beside_a_prompt_without_an_answer_is_a_text(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", 30, lambda n: {"prompt": "Write.", "body": LONG + str(n)})
    assert kinds(survey(tmp_path)) == {".jsonl": ("utf-8", "body", None, None)}
