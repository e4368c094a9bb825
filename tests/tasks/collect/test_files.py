"""Files of every format, whole and broken."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import random
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from conf.schema.data import CollectConf
from tasks.collect.steps import fetch_shard, observe_sources
from tasks.core.errors import ConfigError, DataError
from tasks.core.workdir import Workdir
from tests.tasks.collect.conftest import Fetched

TEXTS = ["First, with a comma\u2028and é", 'Second with "quotes"\nand a line', "Third\ttab"]


def as_csv(path: Path, separator: str = ",") -> None:
    pl.DataFrame({"n": [1, 2, 3], "text": TEXTS}).write_csv(path, separator=separator)


def as_lines(path: Path) -> None:
    path.write_text("\n".join(json.dumps({"text": text}, ensure_ascii=False) for text in TEXTS) + "\n\n")


WRITERS: dict[str, Callable[[Path], None]] = {
    "csv": as_csv,
    "tsv": lambda path: as_csv(path, "\t"),
    "jsonl": as_lines,
    "arrow": lambda path: pl.DataFrame({"n": [1, 2, 3], "text": TEXTS}).write_ipc_stream(path),
    "feather": lambda path: pl.DataFrame({"n": [1, 2, 3], "text": TEXTS}).write_ipc(path, compression="zstd"),
    "parquet": lambda path: pl.DataFrame({"n": [1, 2, 3], "text": TEXTS}).write_parquet(path),
}


PACKED: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".zst": lambda raw: bytes(pa.compress(raw, codec="zstd", asbytes=True)),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}


def compress(path: Path, ending: str) -> None:
    path.with_name(path.name + ending).write_bytes(PACKED[ending](path.read_bytes()))
    path.unlink()


@pytest.mark.parametrize("ending", ["", *PACKED])
@pytest.mark.parametrize("form", sorted(WRITERS))
def test_a_table_gives_its_texts_in_order_however_it_is_packed(tmp_path: Path, form: str, ending: str) -> None:
    path = tmp_path / f"data.{form}"
    WRITERS[form](path)
    if ending:
        compress(path, ending)
    fetched = Fetched(tmp_path, kind="files", paths=[f"{path}{ending}"])
    assert fetched.texts == TEXTS
    places = {"csv": "235", "tsv": "235"}.get(form, "123")  # the line where a record begins, one of them has two
    assert [row["uri"] for row in fetched.rows] == [f"data.{form}{ending}#{place}" for place in places]


@pytest.mark.parametrize("ending", ["", *PACKED])
def test_a_text_file_is_one_document_named_below_its_folder(tmp_path: Path, ending: str) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    path = tmp_path / "in" / "deep" / "a.md"
    path.write_text("\ufeff# Title\r\n")
    if ending:
        compress(path, ending)
    rows = Fetched(tmp_path, kind="files", paths=[str(tmp_path / "in")], licence="CC0-1.0").rows
    assert [(row["uri"], row["text"], row["licence"]) for row in rows] == [
        (f"deep/a.md{ending}", "# Title\r\n", "CC0-1.0")
    ]


PAGE = f"""<html><head><title>Shop</title></head><body><nav><a href="/">Home</a> <a href="/cart">Cart</a></nav>
<article><h1>On tea</h1><p>{"The kettle should be warm before the leaves go in. " * 6}</p></article>
<footer>All rights reserved</footer></body></html>"""


def test_of_a_web_page_the_main_text_is_taken_and_the_same_page_gives_it_again(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.html", "b.HTM"):
        (tmp_path / "in" / name).write_text(PAGE.replace("tea", name))
    (tmp_path / "in" / "none.html").write_text("<html><body></body></html>")
    fetched = Fetched(tmp_path, kind="files", paths=[str(tmp_path / "in")])
    assert [text.splitlines()[0].lstrip("# ") for text in fetched.texts] == ["On a.html", "On b.HTM"]
    assert all("kettle" in text and "Cart" not in text and "rights" not in text for text in fetched.texts)
    assert fetched.stats[0]["empty"] == 1


def an_archive(path: Path, files: dict[str, bytes]) -> None:
    """A zip or tar with files, a folder, a link, and an archive inside."""
    if ".zip" in path.name:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
            zipped.mkdir("deep")
            for name, content in files.items():
                zipped.writestr(name, content)
            zipped.writestr("inner.zip", b"PK")
            link = zipfile.ZipInfo("link.txt")
            link.external_attr = 0o120777 << 16
            zipped.writestr(link, "/etc/passwd")
        return
    with tarfile.open(path, f"w:{path.suffix[1:].removeprefix('t') if path.suffix != '.tar' else ''}") as tarred:
        for name, content in {**files, "inner.zip": b"PK"}.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tarred.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tarred.addfile(link)


@pytest.mark.parametrize("ending", [".zip", ".zip.gz", ".tar", ".tar.gz", ".tgz", ".tar.xz", ".tbz2"])
def test_an_archive_gives_its_files_and_never_leaves_its_folder(tmp_path: Path, ending: str) -> None:
    top, tmp_path = tmp_path, tmp_path / "deep" / "below"  # servers of other tests write beside this test's folder
    tmp_path.mkdir(parents=True)
    buffer, long = io.BytesIO(), random.Random(0).randbytes(100_000).hex()  # more than any buffer holds
    pl.DataFrame({"text": ["from a table"]}).write_parquet(buffer)
    files = {
        "deep/a.jsonl": b'{"text": "one"}\n{"text": "two"}\n',
        "../../escaped.txt": b"out of the folder",
        "/tmp/absolute.txt": b"from the root",
        "deep/t.parquet": buffer.getvalue(),
        "packed.txt.gz": gzip.compress(b"packed twice"),
        "long.txt": long.encode(),
        "picture.png": b"\x89PNG",
    }
    if ending == ".zip.gz":
        an_archive(tmp_path / "a.zip", files)
        compress(tmp_path / "a.zip", ".gz")
    else:
        an_archive(tmp_path / f"a{ending}", files)
    before = {path for path in top.rglob("*") if path.is_file()}
    fetched = Fetched(tmp_path, kind="files", paths=[str(tmp_path / f"a{ending}")])
    texts = ["one", "two", "out of the folder", "from the root", "from a table", "packed twice", long]
    assert fetched.texts == texts
    assert fetched.rows[1]["uri"] == f"a{ending}!deep/a.jsonl#2"
    made = {path for path in top.rglob("*") if path.is_file()} - before
    assert made and all(path.is_relative_to(work.root) for path in made for work in fetched.works)
    notes = [json.loads(line) for line in (fetched.works[0].aux / "unreadable.jsonl").read_text().splitlines()]
    assert {note["file"].rpartition("!")[2]: note["reason"].split(":")[0] for note in notes} == {
        "inner.zip": "is an archive in an archive",
        "link.txt": "is a link or a device",
    }


@pytest.mark.parametrize("ending", [".zip", ".tar", ".tar.gz"])
@pytest.mark.parametrize("damage", ["cut off", "overwritten"])
def test_a_damaged_archive_is_refused_by_name(tmp_path: Path, ending: str, damage: str) -> None:
    an_archive(tmp_path / f"a{ending}", {"a.txt": bytes(range(32, 127)) * 40})
    raw = (tmp_path / f"a{ending}").read_bytes()
    half = len(raw) // 3
    broken = raw[:half] if damage == "cut off" else b"\xff" * half + raw[half:]
    (tmp_path / f"a{ending}").write_bytes(broken)
    with pytest.raises(DataError, match=f"a{ending}.*cut off or damaged"):
        Fetched(tmp_path, kind="files", paths=[str(tmp_path / f"a{ending}")])


def test_labels_and_conversations_are_taken_from_their_fields(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    (tmp_path / "a.jsonl").write_text(json.dumps({"talk": talk, "kind": 3}))
    (row,) = Fetched(tmp_path, kind="files", paths=[f"{tmp_path}/*.jsonl"], messages="talk", label="kind").rows
    assert (row["messages"], row["text"], row["label"]) == (talk, "user: Hi\nassistant: Hello", "3")


def test_another_encoding_is_read_when_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Grüße", encoding="utf-16")
    (tmp_path / "b.jsonl").write_text('{"text": "é"}\n{"text": "è"}\n', encoding="utf-16")
    assert Fetched(tmp_path, kind="files", paths=[str(tmp_path)], encoding="UTF16").texts == ["Grüße", "é", "è"]


def test_globs_reach_across_folders_and_pass_hidden_names_by(tmp_path: Path) -> None:
    for name in ("in/a.txt", "in/x/b.txt", "in/x/y/c.txt", "in/.hidden/d.txt", "in/x/e.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    below = tmp_path / "in"
    assert Fetched(tmp_path / "1", kind="files", paths=[f"{below}/**/*.txt"]).texts == [
        "in/a.txt",
        "in/x/b.txt",
        "in/x/y/c.txt",
    ]
    assert Fetched(tmp_path / "2", kind="files", paths=[f"{below}/*/[!b].*"]).texts == ["in/x/e.md"]


def test_repeated_and_empty_texts_are_counted_not_lost_in_silence(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "same"}\n{"text": "same"}\n{"text": " "}\n')
    fetched = Fetched(tmp_path, kind="files", paths=[str(tmp_path / "a.jsonl")])
    counts = {name: fetched.stats[0][name] for name in ("rows", "repeated", "empty", "unreadable")}
    assert counts == {"rows": 1, "repeated": 1, "empty": 1, "unreadable": 0}


def test_rows_set_aside_are_kept_with_file_line_and_field(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "good"}\n{"body": "no text"}\n{"text": ["a", 1]}\nno json\n')
    fetched = Fetched(tmp_path, kind="files", paths=[str(tmp_path / "a.jsonl")], max_bad_rows=3)
    notes = [json.loads(line) for line in (fetched.works[0].aux / "unreadable.jsonl").read_text().splitlines()]
    assert [note["position"] for note in notes] == ["line 2", "line 3", "line 4"]
    assert "no field 'text'; there are 'body'" in notes[0]["reason"] and "a list" in notes[1]["reason"]
    assert fetched.texts == ["good"] and fetched.stats[0]["unreadable"] == 3


BROKEN: dict[str, tuple[str, bytes, str]] = {
    "truncated gzip": ("a.jsonl.gz", gzip.compress(b'{"text": "one"}\n' * 5000)[:-12], "gzip data are cut off"),
    "no gzip": ("a.txt.gz", b"plain", "gzip data are cut off or damaged"),
    "truncated bzip2": ("a.jsonl.bz2", bz2.compress(b'{"text": "one"}\n' * 5000)[:-12], "bzip2 data are cut off"),
    "truncated xz": ("a.jsonl.xz", lzma.compress(b'{"text": "one"}\n' * 5000)[:-12], "xz data are cut off"),
    "no xz": ("a.txt.xz", b"plain", "xz data are cut off or damaged"),
    "no bzip2": ("a.txt.bz2", b"plain", "bzip2 data are cut off or damaged"),
    "no Arrow": ("a.arrow", b"ARROW1 is not all that it takes", "cannot be read as Arrow"),
    "truncated zstd": ("a.txt.zst", pa.compress(bytes(range(97, 123)) * 999, codec="zstd", asbytes=True)[:-9], "zstd"),
    "invalid UTF-8": ("a.txt", b"caf\xe9", "byte 0xe9.*encoding"),
    "invalid UTF-8 in a line": ("a.jsonl", b'{"text": "a"}\n{"text": "\xe9"}\n', "line 2.*byte 0xe9"),
    "invalid UTF-8 in CSV": ("a.csv", b"text\ncaf\xe9\n", "byte 0xe9"),
    "NUL bytes": ("a.txt", b"a\0b", "NUL"),
    "NUL bytes in a line": ("a.jsonl", b'{"text": "a\0"}\n', "line 1.*NUL"),
    "NUL bytes in CSV": ("a.csv", b"text\na\0b\n", "line 2.*NUL"),
    "an escaped NUL": ("a.jsonl", rb'{"text": "a\u0000"}', "NUL"),
    "half a surrogate pair": ("a.jsonl", rb'{"text": "a\ud800"}', "surrogate"),
    "UTF-16": ("a.txt", "text".encode("utf-16"), "encoding: utf-16"),
    "UTF-16 lines": ("a.jsonl", '{"text": "a"}'.encode("utf-16"), "encoding: utf-16"),
    "no text field": ("a.jsonl", b'{"text": "a"}\n{"body": "b"}\n', "a.jsonl, line 2.*'text'.*max_bad_rows"),
    "a list of numbers for a text": ("a.jsonl", b'{"text": [1]}\n', "a list where text should be"),
    "a null for a text": ("a.jsonl", b'{"text": null}\n', "null where text should be"),
    "no object": ("a.jsonl", b'["a"]\n', "not a JSON object"),
    "no such column": ("a.csv", b"body,title\na,b\n", "no column 'text'; there are 'body', 'title'"),
    "a short record": ("a.csv", b"n,text\n1\n", "has 1 fields where the header has 2"),
    "an open quote": ("a.csv", b'text\n"never closed\n', "not well-formed CSV"),
    "no Parquet": ("a.parquet", b"PAR1 is not all that it takes", "cannot be read as Parquet"),
    "an empty file": ("a.txt", b"", "nothing but empty files"),
    "an unknown ending": ("a.docx", b"text", "unknown file ending"),
    "JSON without an object": ("a.json", b"[]", "no document in it"),
}


@pytest.mark.parametrize("case", sorted(BROKEN))
def test_a_broken_file_is_refused_by_name_with_the_reason(tmp_path: Path, case: str) -> None:
    name, content, message = BROKEN[case]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises((DataError, ConfigError), match=f"(?s){message}") as caught:
        Fetched(tmp_path, kind="files", paths=[str(path)])
    assert name in str(caught.value)


def test_a_parquet_file_without_the_column_names_those_that_it_has(tmp_path: Path) -> None:
    pl.DataFrame({"body": ["a"], "n": [1]}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match="no column 'text'; there are 'body', 'n'"):
        Fetched(tmp_path, kind="files", paths=[str(tmp_path / "a.parquet")])
    pl.DataFrame({"text": [[1]]}).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"row 1.*a list where text should be"):
        Fetched(tmp_path, kind="files", paths=[str(tmp_path / "a.parquet")])


def test_paths_that_lead_nowhere_are_refused(tmp_path: Path) -> None:
    (tmp_path / "dir.jsonl").mkdir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "loop").mkdir()
    (tmp_path / "loop" / "back").symlink_to(tmp_path / "loop")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nothing")
    cases = {
        "missing.txt": "no such file or folder",
        "*.md": "no file matches",
        "dir.jsonl": "named like a file",
        "*.jsonl": "named like a file",
        "empty": "holds no files ending in",
        "loop": "leads back",
        "gone.txt": "points nowhere",
    }
    for path, message in cases.items():
        with pytest.raises(DataError, match=message):
            Fetched(tmp_path, kind="files", paths=[str(tmp_path / path)])


def test_a_file_changed_since_the_listing_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    conf = CollectConf.model_validate({"sources": {"own": {"kind": "files", "paths": [str(tmp_path / "a.txt")]}}})
    (shard,) = observe_sources(conf)
    (tmp_path / "a.txt").write_text("another")
    work = Workdir(tmp_path / "work")
    work.make()
    with pytest.raises(DataError, match="has changed since it was listed"):
        fetch_shard.function(shard, conf.sources["own"], work)


def test_a_text_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    for name in ("a.txt", "a.jsonl", "a.csv", "bomb.txt.gz"):
        path = tmp_path / name
        text = b'{"text": "' + b"a" * 1_100_000 + b'"}'
        path.write_bytes(gzip.compress(text) if name.endswith("gz") else text)
        with pytest.raises(DataError, match=r"more than 1 MB.*max_document_mb"):
            Fetched(tmp_path, kind="files", paths=[str(path)], max_document_mb=1)


def test_the_same_rows_give_the_same_bytes_wherever_they_lie(tmp_path: Path) -> None:
    found = []
    for name in "ab":
        folder = tmp_path / name / "data"
        folder.mkdir(parents=True)
        rows = ({"text": f"document {n} " * 50, "label": str(n % 3)} for n in range(25_000))
        (folder / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
        fetched = Fetched(tmp_path / name, kind="files", paths=[str(folder)], label="label")
        found.append((fetched.works[0] / "docs.parquet").read_bytes())
    assert found[0] == found[1]


def test_columns_stand_in_the_agreed_order_with_the_agreed_types(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    fetched = Fetched(tmp_path, kind="files", paths=[str(tmp_path / "a.txt")])
    schema: dict[str, Any] = dict(pl.read_parquet_schema(fetched.works[0] / "docs.parquet"))
    turn = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
    names = ("id", "text", "source", "uri", "licence", "label")
    assert list(schema.items()) == [*((name, pl.String) for name in names), ("messages", turn)]


def zstd(raw: bytes, window: int) -> bytes:
    """Frames as `zstd --ultra --long` makes them when it reads a pipe: the window is not cut down to the content."""
    import zstandard

    chosen = zstandard.ZstdCompressionParameters.from_level(3, window_log=window, write_content_size=False)
    packer = zstandard.ZstdCompressor(compression_params=chosen).compressobj()
    return packer.compress(raw) + packer.flush()


@pytest.mark.parametrize("window", [20, 28, 31])
def test_zstd_frames_of_any_window_are_read_and_damaged_ones_are_named(tmp_path: Path, window: int) -> None:
    rows = b"".join(b'{"text": "row %d"}\n' % n for n in range(9))
    (tmp_path / "a.jsonl.zst").write_bytes(zstd(rows[:60], window) + zstd(rows[60:], window))
    assert Fetched(tmp_path / "1", kind="files", paths=[f"{tmp_path}/a.jsonl.zst"]).texts[8] == "row 8"
    (tmp_path / "a.jsonl.zst").write_bytes(zstd(rows, window)[:-3])
    with pytest.raises(DataError, match=r"a\.jsonl\.zst: the zstd data are cut off or damaged"):
        Fetched(tmp_path / "2", kind="files", paths=[f"{tmp_path}/a.jsonl.zst"])


@pytest.mark.parametrize("name", [b"caf\xe9.txt", b"\xff\xfe.TXT", "gr\u00fc\u00df".encode("latin-1") + b".jsonl"])
def test_a_file_name_may_hold_any_bytes_and_is_shown_escaped(tmp_path: Path, name: bytes) -> None:
    folder = os.fsencode(tmp_path / "in \udce9")
    os.mkdir(folder)
    with open(os.path.join(folder, name), "wb") as file:
        file.write(b'{"text": "one"}\n')
    fetched = Fetched(tmp_path / "work", kind="files", paths=[f"{tmp_path}/in*/*"])
    (row,) = fetched.rows
    assert "one" in row["text"] and "\\x" in row["uri"] and row["uri"].isprintable()
    with open(os.path.join(folder, b"broken\xe9.parquet"), "wb") as file:
        file.write(b"nope")
    with pytest.raises(DataError, match=r"broken\\xe9\.parquet: cannot be read as Parquet"):
        Fetched(tmp_path / "again", kind="files", paths=[f"{tmp_path}/in*/*"])


def test_a_member_of_an_archive_may_have_such_a_name_and_unread_endings_are_counted(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", encoding="utf-8", errors="surrogateescape") as tarred:
        for name in ("caf\udce9.txt", "b.docx", "c.png", "d.PNG"):
            info = tarfile.TarInfo(name)
            info.size = 4
            tarred.addfile(info, io.BytesIO(b"text"))
    fetched = Fetched(tmp_path / "work", kind="files", paths=[str(tmp_path / "a.tar")])
    assert [row["uri"] for row in fetched.rows] == ["a.tar!caf\\xe9.txt"]
    (warning,) = fetched.stats[0]["warnings"]
    assert "2 .png, 1 .docx" in warning["text"] and "pandoc" in warning["text"]


def test_files_that_are_not_read_for_their_endings_are_counted_and_named(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.txt", "b.docx", "c.DOCX", "d.pdf", "e.jpg", "Makefile"):
        (tmp_path / "in" / name).write_text("text")
    conf = CollectConf.model_validate({"sources": {"own": {"kind": "files", "paths": [str(tmp_path / "in")]}}})
    (shard,) = observe_sources(conf)
    assert fetch_shard.warns is not None
    (warning,) = fetch_shard.warns(shard, conf=conf.sources["own"])
    assert (
        "source own: 5 files not read, for their endings: 2 .docx, 1 .jpg, 1 .pdf, 1 makefile"
        in warning["text"].lower()
    )
    assert "`pandoc -t plain FILE -o FILE.txt`" in warning["text"] and "`pdftotext FILE`" in warning["text"]
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.epub").touch()
    with pytest.raises(DataError, match=r"holds no files ending in .* there are 1 \.epub .*pandoc"):
        Fetched(tmp_path, kind="files", paths=[str(tmp_path / "none")])


def test_json_files_text_files_and_dictionaries_are_read(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.json").write_text('[{"text": "one"}, {"text": "two"}]')
    (folder / "b.json.gz").write_bytes(gzip.compress(b'{"text": "three"}\n{"text": "four"}\n'))
    (folder / "c.ndjson").write_text('{"text": "five"}\n')
    (folder / "d.text").write_text("six")
    (folder / "e.dict.dz").write_bytes(gzip.compress(b"seven"))
    (folder / "e.index").write_text("seven\tA\tF\n")
    texts = Fetched(tmp_path / "work", kind="files", paths=[str(folder)]).texts
    assert texts == ["one", "two", "three", "four", "five", "six", "seven"]


def test_a_file_that_changed_while_its_size_and_time_were_kept_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one text")
    conf = CollectConf.model_validate({"sources": {"own": {"kind": "files", "paths": [str(path)]}}})
    (before,) = observe_sources(conf)
    at = path.stat()
    path.write_text("two text")
    os.utime(path, ns=(at.st_atime_ns, at.st_mtime_ns))
    (after,) = observe_sources(conf)
    assert before != after
    work = Workdir(tmp_path / "work")
    work.make()
    with pytest.raises(DataError, match="has changed since it was listed"):
        fetch_shard.function(before, conf.sources["own"], work)
