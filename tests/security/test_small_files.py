"""A small file takes no more memory or disk than a small file may; each is made and read in processes of their own."""

from __future__ import annotations

import bz2
import gzip
import lzma
import multiprocessing
import resource
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.collect import document_writer, samples, unpack
from tasks.collect.document_writer import Documents
from tasks.collect.survey import survey
from tasks.collect.text_formats import Row
from tasks.core.errors import DataError
from tests.tasks.collect.conftest import Fetched

MOST = 800_000
"""kB that a process may take at the most: what it imports, and 512 MB of rows."""
MB = 1_000_000


def again(path: Path, begin: bytes, piece: bytes, times: int, end: bytes = b"", by: Any = gzip) -> Path:
    """A packed file of the same 8 MB again and again, of which only one is packed."""
    block = piece * (8 * MB // len(piece))
    path.write_bytes(by.compress(begin) + by.compress(block) * times + (by.compress(end) if end else b""))
    return path


def shared_value(size: int, rows: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int8()), pa.array(["x" * size]))


def written(table: pa.Table, path: Path, **options: Any) -> Path:
    pq.write_table(table, path, compression="zstd", store_schema=False, dictionary_pagesize_limit=1 << 30, **options)
    return path


def parquet_of_one_value(folder: Path) -> Path:
    return written(pa.table({"text": shared_value(15 * MB, 64)}), folder / "a.parquet")


def parquet_of_one_long_list(folder: Path) -> Path:
    values = pa.ListArray.from_arrays(pa.array([0, 100, 600], pa.int32()), shared_value(10 * MB, 600))
    return written(pa.table({"text": values}), folder / "a.parquet")


def parquet_of_shared_beginnings(folder: Path) -> Path:
    offsets = pa.array([at * 20 * MB for at in range(65)], pa.int32()).buffers()[1]
    values = pa.StringArray.from_buffers(64, offsets, pa.py_buffer(bytes(64 * 20 * MB)))  # of pages that nobody touched
    encoding = {"text": "DELTA_BYTE_ARRAY"}
    return written(pa.table({"text": values}), folder / "a.parquet", use_dictionary=False, column_encoding=encoding)


def arrow_of_one_value(folder: Path) -> Path:
    return fed(pa.table({"text": shared_value(15 * MB, 64)}), folder)


def arrow_of_one_long_list(folder: Path) -> Path:
    return fed(pa.table({"text": pa.ListArray.from_arrays([0, 200], shared_value(15 * MB, 200))}), folder)


def arrow_of_packed_zeros(folder: Path) -> Path:
    offsets = pa.array([0, 1 << 30], pa.int32()).buffers()[1]
    return fed(pa.table({"text": pa.StringArray.from_buffers(1, offsets, pa.py_buffer(bytes(1 << 30)))}), folder)


def fed(table: pa.Table, folder: Path) -> Path:
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(folder / "a.arrow", table.schema, options=options) as writer:
        writer.write_table(table)
    return folder / "a.arrow"


def fields(folder: Path) -> Path:
    return again(folder / "a.csv.gz", b"id,text\n", b",ab", 5)


def lines_in_quotes(folder: Path) -> Path:
    return again(folder / "a.csv.gz", b'id,text\n"', b"a\n", 30)


def fields_in_many_lines(folder: Path) -> Path:
    return again(folder / "a.csv.gz", b"id,text\n", b'ab,"\n",', 60)


def columns(folder: Path) -> Path:
    return again(folder / "a.tsv.gz", b"", b"a\t", 3)


def endless_line(folder: Path) -> Path:
    return again(folder / "a.jsonl.gz", b'{"text": "', b"x", 100)


def lists(folder: Path) -> Path:
    return again(folder / "a.jsonl.gz", b'{"text": [', b"[],", 1, b"[]]}\n")


def strings(folder: Path) -> Path:
    return again(folder / "a.json.gz", b'[{"n": [', b'"ab",', 20, b"0]}]")


def objects(folder: Path) -> Path:
    return again(folder / "a.json.gz", b'[{"n": [', b'{"a":0},', 3, b"0]}]")


def mail_of_parts(folder: Path) -> Path:
    head = b'Subject: a\nContent-Type: multipart/mixed; boundary="b"\n\n'
    return again(folder / "a.eml.gz", head, b"--b\nabcdef\n", 1)


def mail_of_lines(folder: Path) -> Path:
    return again(folder / "a.mbox.gz", b"From a@b.org Mon Jan  1 00:00:00 2024\n", b"a:\n", 1)


def web_archive_of_headers(folder: Path) -> Path:
    size = len(b"HTTP/1.1 200 OK\r\n") + 15 * MB
    head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://a.org/\r\nContent-Length: {size}\r\n\r\n"
    record = head.encode() + b"HTTP/1.1 200 OK\r\n" + b"a:\n" * (5 * MB) + b"\r\n\r\n"
    (folder / "a.warc.gz").write_bytes(gzip.compress(record))
    return folder / "a.warc.gz"


def dictionary_of_one_entry(folder: Path) -> Path:
    (folder / "a.index").write_text("word\tA\t7////\n")  # nearly a billion bytes from 0 on
    return again(folder / "a.dict.dz", b"", b"x", 124)


def tar_of_one_header(folder: Path) -> Path:
    head = tarfile.TarInfo("a")
    head.type, head.size = tarfile.XHDTYPE, 1 << 30
    return again(folder / "a.tar.gz", head.tobuf(), b"\0", 135)


def tar_of_one_name(folder: Path) -> Path:
    head = tarfile.TarInfo("a")
    head.type, head.size = tarfile.GNUTYPE_LONGNAME, 1 << 30
    return again(folder / "a.tar.gz", head.tobuf(), b"\0", 135)


def zip_of_bzip2(folder: Path) -> Path:
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_BZIP2) as made, made.open("a.jsonl", "w") as member:
        for _ in range(65):
            member.write(bytes(10 * MB))
    return folder / "a.zip"


READ: list[tuple[Callable[[Path], Path], str]] = [
    (parquet_of_one_value, "after row 0: takes more than 0.51 GB of memory"),
    (parquet_of_one_long_list, "after row 0: takes more than 0.51 GB of memory"),
    (parquet_of_shared_beginnings, "after row 0: takes more than 0.51 GB of memory"),
    (arrow_of_one_value, ""),
    (arrow_of_one_long_list, "after row 0: takes more than 0.51 GB of memory"),
    (arrow_of_packed_zeros, "after row 0: takes more than 0.51 GB of memory"),
    (fields, "line 2: holds a text of more than 16 MB"),
    (lines_in_quotes, "line 2: holds a text of more than 16 MB"),
    (fields_in_many_lines, "line 2: holds more than 2,000,000 ',' in one record"),
    (columns, "line 1: holds a text of more than 16 MB"),
    (endless_line, "line 1: holds a text of more than 16 MB"),
    (lists, "line 1: holds more than 2,000,000 values in one record"),
    (strings, "row 1: holds more than 2,000,000 values in one record"),
    (objects, "row 1: holds more than 2,000,000 values in one record"),
    (mail_of_parts, "parts: take it out"),
    (mail_of_lines, "message 1: has 2,666,666 lines, more than 2,000,000"),
    (web_archive_of_headers, "byte 0: the server's header has no end within 1,048,576 bytes"),
    (dictionary_of_one_entry, "byte 0: holds a text of more than 16 MB"),
    (tar_of_one_header, "what it says of a member, at byte 0, has more than 1,048,576 bytes"),
    (tar_of_one_name, "what it says of a member, at byte 0, has more than 1,048,576 bytes"),
    (zip_of_bzip2, "a.jsonl, line 1: holds a text of more than 16 MB"),
]


def _fetch(folder: Path, path: Path) -> str:
    Fetched(folder, kind="files", paths=[str(path)], max_document_mb=16, max_file_gb=2)
    return "read"


def _measure(end: Any, call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # what was forked: the suite's own process
    try:
        said = call(*arguments)
    except DataError as error:
        said = str(error)
    used = [resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    end.send((said, max(used) - before))


def apart(call: Callable[..., Any], *arguments: Any) -> tuple[Any, int]:
    """(what a call returns or its error says, kB that it took at the most beyond what was there: it, or a process that
    it began)."""
    context = multiprocessing.get_context("forkserver")  # the suite has threads, which a fork of it would wait for
    context.set_forkserver_preload([__name__])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(theirs, call, arguments))
    process.start()
    theirs.close()
    try:
        found: tuple[Any, int] = ours.recv()
    finally:
        process.join()
    return found


@pytest.mark.parametrize(("made", "said"), READ, ids=[made.__name__ for made, _ in READ])
def test_memory_stays_small_and_the_message_names_file_and_row(
    made: Callable[[Path], Path], said: str, tmp_path: Path
) -> None:
    path, _ = apart(made, tmp_path)
    assert path.stat().st_size < 2 * MB
    told, most = apart(_fetch, tmp_path, path)
    assert said in told and (not said or str(path) in told) and len(told) < 2_000, told[:2_000]
    assert most < MOST, f"{most:,} kB for a file of {path.stat().st_size:,} bytes"


def disk_by_a_table(folder: Path) -> Path:
    return again(folder / "a.parquet.gz", b"PAR1", b"\0", 30)


def disk_by_a_member(folder: Path) -> Path:
    head = tarfile.TarInfo("a.parquet")
    head.size = 240 * MB
    return again(folder / "a.tar.gz", head.tobuf(), b"\0", 30, bytes(2 * 512))


def disk_by_a_hole(folder: Path) -> Path:
    """A member that is all hole: GNU tar's sparse files say where what is not zero lies."""
    head = tarfile.TarInfo("a.arrow")
    head.type, head.size = tarfile.GNUTYPE_SPARSE, 0
    raw = bytearray(head.tobuf())
    raw[386:410] = b"%011o\0%011o\0" % (240 * MB, 0)
    raw[483:495] = b"%011o\0" % (240 * MB)
    raw[148:156] = b"%06o\0 " % (sum(raw[:148]) + 8 * 32 + sum(raw[156:]))
    (folder / "a.tar").write_bytes(raw + bytes(1024))
    return folder / "a.tar"


def many_bytes(folder: Path) -> Path:
    return again(folder / "a.jsonl.bz2", b"", b"x", 30, by=bz2)


def many_lines(folder: Path) -> Path:
    return again(folder / "a.json.xz", b"", b" " * 8, 30, by=lzma)


@pytest.mark.parametrize(
    "made", [disk_by_a_table, disk_by_a_member, disk_by_a_hole, many_bytes, many_lines], ids=lambda made: made.__name__
)
@pytest.mark.parametrize("encoding", ["utf-8", "auto"])
def test_what_unpacks_to_more_than_it_may_is_refused_before_it_fills_the_disk(
    made: Callable[[Path], Path], encoding: str, tmp_path: Path
) -> None:
    path = made(tmp_path)
    assert path.stat().st_size < 2 * MB
    with pytest.raises(DataError, match=r"unpacks to too much.*become more than 0\.1 GB: .*max_file_gb of the source"):
        Fetched(tmp_path, kind="files", paths=[str(path)], encoding=encoding, max_file_gb=0.1)


def test_the_files_of_a_shard_are_counted_together(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.jsonl.gz").write_bytes(
            gzip.compress(b" " * 40 * MB + b"\n" + b'{"text": "%d"}' % number)
        )
    with pytest.raises(DataError, match=r"2\.jsonl\.gz: unpacks to too much"):
        Fetched(tmp_path / "1", kind="files", paths=[f"{tmp_path}/*.gz"], max_file_gb=0.1)
    assert len(Fetched(tmp_path / "2", kind="files", paths=[f"{tmp_path}/*.gz"], max_file_gb=0.2).texts) == 3


def test_a_file_that_is_large_when_packed_may_become_larger_than_the_limit() -> None:
    budget = unpack.Budget(0.001)
    budget.begin(1 * MB)
    budget.spend(32 * MB, "a")
    with pytest.raises(DataError, match="unpacks to too much"):
        budget.spend(1, "a")


def test_a_zip_with_a_huge_list_of_members_is_refused_before_that_is_read(tmp_path: Path) -> None:
    with (tmp_path / "a.zip").open("wb") as file:
        file.truncate(500 * MB)  # as an a.zip.gz may become
        file.seek(500 * MB)
        file.write(b"PK\5\6" + struct.pack("<HHHHLLH", 0, 0, 9, 9, 500 * MB, 0, 0))
    budget = unpack.Budget(1)
    budget.begin(500_000)
    with (
        pytest.raises(DataError, match=r"its list of members has 500,000,000 bytes, more than 33,554,432"),
        unpack.archive(tmp_path / "a.zip", ".zip", "", "a.zip.gz", budget),
    ):
        pass


def test_the_members_of_a_tar_that_were_read_are_forgotten(tmp_path: Path) -> None:
    again(tmp_path / "a.tar.gz", b"", tarfile.TarInfo("a.none").tobuf()[:512], 2)
    tracemalloc.start()
    with unpack.archive(tmp_path / "a.tar.gz", ".tar", ".gz", "a", unpack.Budget(1)) as members:
        assert sum(1 for _ in members) > 30_000
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 4 * MB


@pytest.mark.parametrize("packing", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, zipfile.ZIP_DEFLATED])
def test_members_of_a_zip_are_read_and_checked_whatever_they_are_packed_with(packing: int, tmp_path: Path) -> None:
    texts = ["one", "", "many words " * 40_000]
    with zipfile.ZipFile(tmp_path / "a.zip", "w", packing) as made:
        for number, text in enumerate(texts):
            made.writestr(f"{number}.txt", text)
    assert Fetched(tmp_path / "1", kind="files", paths=[f"{tmp_path}/a.zip"]).texts == [texts[0], texts[2]]
    raw = bytearray((tmp_path / "a.zip").read_bytes())
    at = raw.rfind(b"PK\1\2")
    raw[at + 16] ^= 1  # its checksum
    (tmp_path / "a.zip").write_bytes(raw)
    with pytest.raises(DataError, match=r"cut off or damaged \(Bad CRC-32 for file '2\.txt'\)"):
        Fetched(tmp_path / "2", kind="files", paths=[f"{tmp_path}/a.zip"])


def test_xz_that_takes_much_memory_is_refused(tmp_path: Path) -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 16}]
    raw = bytearray(lzma.compress(b"one", filters=filters))
    (tmp_path / "a.txt.xz").write_bytes(raw)
    assert Fetched(tmp_path / "1", kind="files", paths=[f"{tmp_path}/a.txt.xz"]).texts == ["one"]
    raw[16] = 40  # a dictionary of 4 GB
    raw[20:24] = struct.pack("<I", zlib.crc32(raw[12:20]))
    (tmp_path / "a.txt.xz").write_bytes(raw)
    with pytest.raises(DataError, match=r"\.xz: unpacking takes more than 268,435,456 bytes: pack it with `xz -9`"):
        Fetched(tmp_path / "2", kind="files", paths=[f"{tmp_path}/a.txt.xz"])


def test_notes_on_rows_that_are_set_aside_are_short_and_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_writer, "NOTES", 10_000)
    with Documents(tmp_path / "docs.parquet", tmp_path / "unreadable.jsonl", "own") as made:
        for number in range(100):
            made.set_aside("a", number, "x" * MB)
        assert made.counts["unreadable"] == 100
        with pytest.raises(DataError, match="100 unreadable rows") as raised:
            made.check(0)
    assert (tmp_path / "unreadable.jsonl").stat().st_size < 10_000
    assert len(str(raised.value)) < 100_000


def test_of_very_many_rows_a_look_keeps_some_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "MANY", 10)
    rows, there = samples._thinned(Row(str(number), {}) for number in range(25))
    assert ([int(row.position) for row in rows], there) == ([0, 4, 8, 12, 16, 20, 24], 25)


@pytest.mark.parametrize(
    "made",
    [parquet_of_one_value, parquet_of_shared_beginnings, arrow_of_one_long_list, arrow_of_packed_zeros],
    ids=lambda made: made.__name__,
)
def test_a_look_takes_little_memory_too(made: Callable[[Path], Path], tmp_path: Path) -> None:
    path, _ = apart(made, tmp_path)
    _, most = apart(survey, path.parent)
    assert most < 1.5 * MOST, f"{most:,} kB"
