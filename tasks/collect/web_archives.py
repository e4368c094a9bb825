"""Web archives (WARC, ISO 28500): the pages in them, record by record, what is damaged passed over."""

from __future__ import annotations

import base64
import hashlib
import io
import mmap
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from conf.schema.source import WebRecords
from tasks.collect import text_formats, web
from tasks.collect.text_formats import Row
from tasks.collect.unpack import Budget
from tasks.core.errors import DataError

CHUNK = 1 << 16
HEAD = 1 << 16
"""Bytes within which a record's own header ends."""
MOST_HEAD, END = 1 << 20, re.compile(rb"\n\r?\n")
"""Bytes within which a server's header ends, and how."""
START, PACKED_START = re.compile(rb"(?<=\r\n\r\n)WARC/1\."), re.compile(rb"\x1f\x8b\x08")
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r\n", re.IGNORECASE)
TYPE = re.compile(rb"\r\nwarc-type:[ \t]*(\w+)[ \t]*\r\n", re.IGNORECASE)
ADDRESS = re.compile(rb"\r\nwarc-target-uri:[ \t]*<?([^\s>]+)>?[ \t]*\r\n", re.IGNORECASE)
TYPES = b"warcinfo response resource request metadata revisit conversion continuation".split()


class _Damaged(ValueError):
    """A record that is not what it says it is."""


def rows(
    path: Path,
    packed: bool,
    name: str,
    chosen: WebRecords,
    encoding: str,
    limit: int,
    pages: web.Limits,
    budget: Budget,
) -> Iterator[Row]:
    """One row for each chosen record: its main text, the page's `address`, "byte N" as its position in the file.

    `packed` is a file that is gzipped record by record. A damaged record, and one of more than `limit` bytes, is a row
    with a reason; reading goes on where the next one begins. Raises `DataError` for a file gzipped as a whole.
    """
    if not path.stat().st_size:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as held:
        at: int | None = 0
        while at is not None and at < len(held):
            try:
                block, size, after = _unpacked(held, at, limit, name, budget) if packed else _plain(held, at, limit)
                row = _page(block, size, f"byte {at}", chosen, encoding, limit, pages)
                at = after
            except _Damaged as error:
                row = Row(f"byte {at}", None, str(error))
                at = _next(held, at + 1, packed)
            if row is not None:
                yield row


def _plain(held: mmap.mmap, at: int, limit: int) -> tuple[bytes, int, int]:
    """A record's bytes (of one beyond the limit the first ones), how many it has, and where the next one begins."""
    start = at + _head(held[at : at + HEAD])
    end = start + _length(held[at:start])
    if end > len(held):
        raise _Damaged("the record is cut off")
    if held[end : end + 4] not in (b"\r\n\r\n", b""):
        raise _Damaged("the record does not end where its Content-Length says")
    return held[at : min(end, at + limit + HEAD)], end - at, end + 4


def _unpacked(held: mmap.mmap, at: int, limit: int, name: str, budget: Budget) -> tuple[bytes, int, int]:
    """The same of a record that is a gzip member, whose checksum is checked."""
    unpack, kept, total, position, whole = zlib.decompressobj(31), bytearray(), 0, at, None
    try:
        while not unpack.eof:
            waiting = unpack.unconsumed_tail or held[position : position + CHUNK]
            position += 0 if unpack.unconsumed_tail else len(waiting)
            piece = unpack.decompress(waiting, CHUNK)
            if not waiting and not piece:
                raise _Damaged("the record's gzip data are cut off")
            total += len(piece)
            budget.spend(len(piece), name)
            kept += piece[: max(0, limit + HEAD - len(kept))]
            if whole is None and (len(kept) >= HEAD or unpack.eof):
                start = _head(bytes(kept[:HEAD]))
                whole = start + _length(bytes(kept[:start]))
            if whole is not None and total > whole + 4:
                if kept[whole : whole + 9].lstrip().startswith(b"WARC/"):
                    raise DataError(
                        f"{name}: is gzipped as a whole, not record by record: `warcio recompress` fixes it"
                    )
                raise _Damaged("the record does not end where its Content-Length says")
    except zlib.error as error:
        raise _Damaged(f"the record's gzip data are damaged ({error})") from error
    if whole is None or total < whole:
        raise _Damaged("the record is cut off")
    return bytes(kept[:whole]), whole, position - len(unpack.unused_data)


def _head(begin: bytes) -> int:
    """The length of a record's header."""
    end = begin.find(b"\r\n\r\n")
    if not begin.startswith(b"WARC/1.") or end < 0:
        raise _Damaged("no WARC record begins here")
    return end + 4


def _length(head: bytes) -> int:
    found = LENGTH.search(head)
    if not found:
        raise _Damaged("the record's header says no Content-Length")
    return int(found[1])


def _check_size(size: int, limit: int) -> None:
    if size > limit + HEAD:
        raise _Damaged(f"holds {text_formats.beyond(limit)}")


def _next(held: mmap.mmap, at: int, packed: bool) -> int | None:
    """Where a record begins, at or after a place."""
    for found in (PACKED_START if packed else START).finditer(held, at):
        if not packed:
            return found.start()
        try:
            if zlib.decompressobj(31).decompress(held[found.start() : found.start() + CHUNK], 7) == b"WARC/1.":
                return found.start()
        except zlib.error:
            continue  # three bytes that look like a beginning, amid other data
    return None


def _page(
    block: bytes, size: int, position: str, chosen: WebRecords, encoding: str, limit: int, pages: web.Limits
) -> Row | None:
    """The row of a record, or None where it is not chosen."""
    from warcio.exceptions import ArchiveLoadFailed
    from warcio.recordloader import ArcWarcRecordLoader
    from warcio.statusandheaders import StatusAndHeadersParserException

    head = block[: _head(block)]
    named, address = TYPE.search(head), ADDRESS.search(head)
    if not named or named[1].lower() not in TYPES:
        raise _Damaged("the record's header says no WARC-Type that there is")
    if named[1].lower() != b"response":
        return None
    if not address:
        raise _Damaged("the record's header says no WARC-Target-URI")
    if not END.search(block, len(head), len(head) + MOST_HEAD) and len(block) > len(head) + MOST_HEAD:
        raise _Damaged(f"the server's header has no end within {MOST_HEAD:,} bytes")
    try:
        record = ArcWarcRecordLoader().parse_record_stream(io.BytesIO(block), known_format="warc")
        if size == len(block):
            _check_digest(block, record.rec_headers.get_header("WARC-Block-Digest"))
        if record.http_headers is None:
            return None  # of another protocol, DNS for one
        status, kind = record.http_headers.get_statuscode(), record.http_headers.get_header("Content-Type") or ""
        mime = kind.partition(";")[0].strip().lower()
        if mime not in chosen.mime_types or status not in map(str, chosen.statuses):
            return None
        _check_size(size, limit)
        raw = _content(record, limit)
    except (ArchiveLoadFailed, StatusAndHeadersParserException, EOFError, UnicodeError, zlib.error) as error:
        raise _Damaged(f"the record cannot be read ({str(error).strip() or type(error).__name__})") from error
    text = web.decoded(raw, kind, encoding)
    row = Row(position, {"text": text}, address=address[1].decode(errors="replace"), given=True)
    return row if mime == "text/plain" else web.main_text(row, pages)


def _content(record: Any, limit: int) -> bytes:
    """The page, as it was before it was packed or cut into chunks for the transfer."""
    packing = (record.http_headers.get_header("Content-Encoding") or "").strip().lower()
    if packing not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise _Damaged(f"the page is packed with {packing}, which is not read: let the crawler ask for gzip")
    stream, pieces, size = record.content_stream(), [], 0
    while piece := stream.read(CHUNK):
        pieces.append(piece)
        size += len(piece)
        _check_size(size, limit)
    return b"".join(pieces)


def _check_digest(block: bytes, digest: str | None) -> None:
    """A record's bytes against the SHA-1 that its header gives, where it gives one."""
    name, _, given = (digest or "").partition(":")
    if name.lower() == "sha1":
        found = hashlib.sha1(block[_head(block) :], usedforsecurity=False)
        if given.strip().upper() not in (base64.b32encode(found.digest()).decode(), found.hexdigest().upper()):
            raise _Damaged("the record's bytes do not give its WARC-Block-Digest")
