"""Web archives: what becomes a document, what is set aside, and that damage is never read as a page."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import tempfile
import zlib
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.errors import DataError
from tests.tasks.collect.conftest import Fetched
from tests.tasks.collect.test_damaged import damaged
from tests.tasks.collect.test_files import PAGE

HTML = "text/html; charset=utf-8"


def record(
    uri: str, body: bytes, kind: str = HTML, status: int = 200, more: str = "", type: str = "response", cut: int = 0
) -> bytes:
    """One record as crawlers write it; `cut` bytes are missing from its block, of which its digest knows nothing."""
    block = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n{more}\r\n".encode() + body
    digest = base64.b32encode(hashlib.sha1(block).digest()).decode()
    head = (
        f"WARC/1.0\r\nWARC-Type: {type}\r\nWARC-Target-URI: {uri}\r\nWARC-Record-ID: <urn:uuid:{len(uri)}>\r\n"
        f"WARC-Date: 2026-01-01T00:00:00Z\r\nContent-Type: application/http; msgtype=response\r\n"
        f"WARC-Block-Digest: sha1:{digest}\r\nContent-Length: {len(block)}\r\n\r\n"
    )
    return head.encode() + block[: len(block) - cut] + b"\r\n\r\n"


def page(word: str, encoding: str = "utf-8") -> bytes:
    return PAGE.replace("tea", word).encode(encoding)


def written(path: Path, records: Iterable[bytes]) -> Path:
    """A file of the records, gzipped one by one where its name ends so."""
    path.write_bytes(b"".join(gzip.compress(one, mtime=0) if path.suffix == ".gz" else one for one in records))
    return path


def titles(fetched: Fetched) -> list[str]:
    return [text.splitlines()[0].lstrip("# ").removeprefix("On ") for text in fetched.texts]


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
def test_pages_become_documents_under_file_address_and_the_byte_where_their_record_begins(
    tmp_path: Path, name: str
) -> None:
    records = [
        record("http://x/", b"", type="request"),
        record("http://x/a", page("Grüße")),
        record("http://x/none", page("missing"), status=404),
        record("http://x/i.png", b"\x89PNG", kind="image/png"),
        record("http://x/b.txt", b"On plain\ntext", kind="text/plain"),
        record("http://x/c", gzip.compress(page("packed")), more="Content-Encoding: gzip\r\n"),
        record("http://x/d", page("Straße", "latin-1"), kind="text/html; charset=ISO-8859-1"),
        record("http://x/e", page("meta é", "cp1252").replace(b"<head>", b"<head><meta charset=cp1252>"), "text/html"),
        record("http://x/f", b"5\r\n<html\r\n" + b"%x\r\n%s\r\n0\r\n\r\n" % (len(page("cut")) - 5, page("cut")[5:]),
               more="Transfer-Encoding: chunked\r\n"),
    ]  # fmt: skip
    path = written(tmp_path / name, records)
    fetched = Fetched(tmp_path, kind="warc", paths=[str(path)], text="ignored")
    assert titles(fetched) == ["Grüße", "plain", "packed", "Straße", "meta é", "cut"]
    places = [row["uri"].removeprefix(f"{name}!").rpartition("#") for row in fetched.rows]
    assert [address for address, _, _ in places] == [f"http://x/{last}" for last in ("a", "b.txt", "c", "d", "e", "f")]
    for address, _, offset in places:
        begins = path.read_bytes()[int(offset) :]
        record_ = zlib.decompressobj(31).decompress(begins) if name.endswith(".gz") else begins
        assert f"WARC-Target-URI: {address}\r\n".encode() in record_.partition(b"\r\n\r\n")[0]
    assert all("Cart" not in text for text in fetched.texts)


def test_other_records_are_taken_when_they_are_named(tmp_path: Path) -> None:
    path = written(
        tmp_path / "a.warc", [record("http://x/a", page("ok")), record("http://x/b", page("gone"), status=410)]
    )
    fetched = Fetched(tmp_path, kind="warc", paths=[str(path)], records={"statuses": [410]})
    assert titles(fetched) == ["gone"]


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
def test_a_damaged_record_is_set_aside_with_its_place_and_the_next_is_read(tmp_path: Path, name: str) -> None:
    whole = [record(f"http://x/{n}", page(f"page {n}")) for n in range(3)]
    path = written(tmp_path / name, [whole[0], record("http://x/1", page("page 1"), cut=20), whole[2]])
    at = len(gzip.compress(whole[0], mtime=0)) if name.endswith("gz") else len(whole[0])
    with pytest.raises(DataError, match=rf"{name}, byte {at}: .*max_bad_rows of the source allows 0"):
        Fetched(tmp_path / "strict", kind="warc", paths=[str(path)])
    fetched = Fetched(tmp_path, kind="warc", paths=[str(path)], max_bad_rows=1)
    notes = [json.loads(line) for line in (fetched.works[0].aux / "unreadable.jsonl").read_text().splitlines()]
    assert titles(fetched) == ["page 0", "page 2"] and [note["position"] for note in notes] == [f"byte {at}"]


def test_a_file_gzipped_as_a_whole_and_a_page_too_large_are_named_with_the_fix(tmp_path: Path) -> None:
    two = record("http://x/a", page("one")) + record("http://x/b", page("two"))
    (tmp_path / "a.warc.gz").write_bytes(gzip.compress(two))
    with pytest.raises(DataError, match=r"a\.warc\.gz: is gzipped as a whole.*`warcio recompress`"):
        Fetched(tmp_path / "1", kind="warc", paths=[str(tmp_path / "a.warc.gz")])
    large = record("http://x/a", gzip.compress(b"x" * 2_000_000), more="Content-Encoding: gzip\r\n")
    film = record("http://x/film", b"x" * 2_000_000, kind="video/mp4")
    small = record("http://x/b", page("small"))
    path = written(tmp_path / "b.warc.gz", [large, small])
    with pytest.raises(DataError, match=r"b\.warc\.gz, byte 0: holds a text of more than 1 MB.*max_document_mb"):
        Fetched(tmp_path / "2", kind="warc", paths=[str(path)], max_document_mb=1)
    for name in ("c.warc", "c.warc.gz"):  # a large record that is not chosen is no fault
        path = written(tmp_path / name, [film, small])
        assert titles(Fetched(tmp_path / name[2:], kind="warc", paths=[str(path)], max_document_mb=1)) == ["small"]
        with pytest.raises(DataError, match=r"byte 0: holds a text of more than 1 MB"):
            Fetched(tmp_path / "3", kind="warc", paths=[str(path)], max_document_mb=1,
                    records={"mime_types": ["video/mp4"]})  # fmt: skip


def test_web_archives_in_other_packings_and_archives_are_read_by_files_too(tmp_path: Path) -> None:
    import zipfile

    import zstandard

    raw = record("http://x/a", page("zst"))
    (tmp_path / "a.warc.zst").write_bytes(zstandard.compress(raw))
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as zipped:
        zipped.writestr("b.warc.gz", gzip.compress(record("http://x/b", page("zip"))))
    fetched = Fetched(tmp_path / "w", kind="files", paths=[f"{tmp_path}/*.z*"])
    assert titles(fetched) == ["zst", "zip"]
    assert [row["uri"] for row in fetched.rows] == ["a.warc.zst!http://x/a#0", "b.zip!b.warc.gz!http://x/b#0"]


RECORDS = [record(f"http://x/{n}", page(f"page {n}")) for n in range(3)]
PAGES = {f"page {n}" for n in range(3)}


@pytest.mark.parametrize("name", ["a.warc", "a.warc.gz"])
@settings(max_examples=25)
@given(data=st.data())
def test_damage_is_set_aside_or_refused_in_words_and_never_read_as_a_page(name: str, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder) / name, RECORDS)
        path.write_bytes(data.draw(damaged(path.read_bytes())))
        try:
            fetched = Fetched(Path(folder), kind="warc", paths=[str(path)], max_bad_rows=100)
        except DataError as refused:
            assert name in str(refused)
            return
        assert set(titles(fetched)) <= PAGES
