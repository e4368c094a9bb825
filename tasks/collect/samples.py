"""Rows from all parts of a file, few bytes of each: its beginning, its end, and places spread between them."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

from conf.schema.source import AUTO, WebRecords
from tasks.collect import (
    charsets,
    columnar,
    dictionaries,
    endings,
    mail,
    places,
    tagged_tokens,
    text_formats,
    unpack,
    web,
    web_archives,
)
from tasks.collect.charsets import UTF8, Charset
from tasks.collect.text_formats import Row
from tasks.collect.unpack import Budget
from tasks.core.errors import DataError

PARTS, ROWS = 16, 400
"""Places of a large file that are read, and rows of a file that are looked at."""
UNPACKED = 1 << 26
"""Bytes of a packed file that are unpacked."""
LOOKED_THROUGH = 20.0
"""GB that a packed archive may unpack to while its members are looked for."""
MANY = 100_000
"""Rows that are held; of more every second one, and so on."""
LEAST = 1 << 14
"""Bytes that are read of a member of an archive at least."""
WEB_PAGES = 40
"""Pages of a web archive that are looked at: finding the text of one takes long."""
WHOLE = 1 << 25
"""Bytes up to which a JSON file, which has no lines to begin at, is read whole."""
PAGES = web.Limits(mb=4, seconds=4)
"""What a look at one page may take."""
LIMIT = 1 << 30
"""Bytes of one text; the most that a source can allow."""


@dataclass(frozen=True)
class Sample:
    """What was read of a file."""

    rows: list[Row]
    count: float
    """Rows that the file seems to have; exact if it was read whole."""
    size: int
    """Bytes of the file, unpacked; an estimate where it was not unpacked whole."""
    charset: Charset


def of(path: Path, name: str, budget: int) -> Sample:
    """Rows from all parts of a file, some `budget` bytes of it; raises `DataError` if it cannot be read."""
    form, compression = endings.split(name) or ("", "")
    if form in endings.ARCHIVES:
        return _of_archive(path, form, compression, name, budget)
    if form == endings.WEB_ARCHIVE and compression in ("", ".gz"):
        return _of_web_archive(path, bool(compression), name)
    if form == endings.DICTIONARY and (index := dictionaries.index_of(path)):
        with _plain(path, compression, name) as (file, held, size):
            return _of_dictionary(file, held, size, index)
    if form in (*endings.TABLES, endings.WEB_ARCHIVE):
        if compression:
            raise DataError(f"{name}: unpack it first, so that `fromzero init` can look into it")
        found, there = columnar.spread(path, form, name, ROWS)
        return Sample(found, there, path.stat().st_size * (2 if form == ".parquet" else 1), UTF8)
    with _plain(path, compression, name) as (file, held, size):
        if form in endings.MAIL:
            return _of_mail(file, form, size, held)
        pieces = _pieces(file, held, max(budget, WHOLE) if form in endings.JSON else budget)
        charset = _charset(pieces, form)
        if not charset.name.startswith(("utf-16", "utf-32")) and any(b"\0" in piece for _, piece in pieces):
            raise DataError(f"{name}: holds NUL bytes: it is no text, or in an encoding that has to be named")
        read = sum(len(piece) for _, piece in pieces)
        whole = read == held == size
        rows, there = _thinned(_rows(pieces, name, form, charset.name, whole))
        count: float = there if whole or form in endings.DOCUMENTS else there * size / max(read, 1)
        return Sample(_spread(rows), count, size, charset)


@contextmanager
def _plain(path: Path, compression: str, name: str) -> Iterator[tuple[IO[bytes], int, int]]:
    """(the unpacked bytes, how many are there, how many the file seems to have)."""
    with path.open("rb") as raw:
        if not compression:
            size = path.stat().st_size
            yield raw, size, size
            return
        with tempfile.TemporaryFile() as plain, unpack.opened(raw, compression, name, Budget(LOOKED_THROUGH)) as packed:
            while (held := plain.tell()) < UNPACKED and (piece := packed.read(1 << 20)):
                plain.write(piece)
            size = held if held < UNPACKED else max(held, held * path.stat().st_size // max(raw.tell(), 1))
            yield plain, held, size


def _pieces(file: IO[bytes], size: int, budget: int) -> list[tuple[int, bytes]]:
    """(where it begins, whole lines) of each part; the file as one if it is small enough."""
    file.seek(0)
    if size <= budget:
        return [(0, file.read(size))]
    found, most = [], budget // PARTS
    for part in range(PARTS):
        start = (size - most) * part // (PARTS - 1)
        file.seek(start)
        piece = file.read(most)
        begin = piece.find(b"\n") + 1 if start else 0
        end = piece.rfind(b"\n") + 1 if part < PARTS - 1 else len(piece)
        if begin < end:
            found.append((start + begin, piece[begin:end]))
    file.seek(0)
    return found or [(0, file.read(most))]


def _charset(pieces: list[tuple[int, bytes]], form: str) -> Charset:
    raw = b"".join(piece for _, piece in pieces)
    named = web.named(raw[: web.HEAD]) if form in endings.PAGES else None
    if named and charsets.fits(lambda: io.BytesIO(raw), named):
        return Charset(named)
    return charsets.guess(raw)


def _rows(pieces: list[tuple[int, bytes]], name: str, form: str, encoding: str, whole: bool) -> Iterator[Row]:
    if form in endings.DOCUMENTS:
        yield from _document(pieces[0][1], name, form, encoding, whole)
    elif form == ".jsonl":
        wide = encoding.startswith(("utf-16", "utf-32"))  # no line can be found in the middle of such a file
        for start, piece in pieces[:1] if wide else pieces:
            for row in text_formats.json_lines(_buffered(piece), name, encoding, LIMIT):
                yield row if not start else _later(row, start)
    elif form in endings.TAGGED:
        for start, piece in pieces:
            for row in tagged_tokens.sentences(text_formats.decoded(_buffered(piece), name, encoding, LIMIT)):
                yield row if not start else _later(row, start)
    elif form in endings.JSON:
        cut = islice(text_formats.json_values(_buffered(pieces[0][1]), name, encoding, LIMIT), None if whole else ROWS)
        yield from cut
    else:
        yield from _separated(pieces, name, encoding, endings.SEPARATED[form])


def _later(row: Row, start: int) -> Row:
    return Row(f"{row.position} after byte {start}", row.values, row.reason)


def _document(raw: bytes, name: str, form: str, encoding: str, whole: bool) -> Iterator[Row]:
    if not whole:
        yield Row("file", {"text": raw.decode(encoding, errors="replace")}, given=True)
        return
    for row in text_formats.whole(_buffered(raw), name, encoding, LIMIT):
        yield web.main_text(row, PAGES) if form in endings.PAGES else row


def _separated(pieces: list[tuple[int, bytes]], name: str, encoding: str, sign: str) -> Iterator[Row]:
    """The records of the first part, strictly read; of later ones those that look like records."""
    first = pieces[0][1]
    header: list[str] = []
    for row in text_formats.separated(_buffered(first), name, encoding, LIMIT, [], sign, "auto"):
        header = header or list(row.values or ())
        yield row
    for start, piece in pieces[1:]:
        for number, fields in enumerate(csv.reader(io.StringIO(piece.decode(encoding, "replace")), delimiter=sign)):
            if len(fields) == len(header):
                yield Row(f"row {number} after byte {start}", dict(zip(header, fields, strict=True)))


def _of_archive(path: Path, form: str, compression: str, name: str, budget: int) -> Sample:
    """Rows of the members, of as many as fit into `UNPACKED` bytes; a member that cannot be looked into is left out."""
    if form == ".zip" and compression:
        raise DataError(f"{name}: unpack it once, so that `fromzero init` can look into the .zip (a run reads it)")
    looks, members, read, left = list[Sample](), 0, 0, budget
    allowed = Budget(LOOKED_THROUGH)
    allowed.begin(path.stat().st_size)
    with unpack.archive(path, form, compression, name, allowed) as found, tempfile.NamedTemporaryFile() as copy:
        for member in found:
            if member.file is None:
                continue
            members += 1
            if read >= UNPACKED:
                if form != ".zip":
                    break
                continue
            copy.seek(0)
            copy.truncate()
            copy.write(piece := member.file.read(UNPACKED))
            copy.flush()
            read += len(piece)
            if not piece:
                continue
            with suppress(DataError):
                looks.append(of(Path(copy.name), f"{name}!{places.shown(member.name)}", max(left, LEAST)))
            left -= len(piece)
    if not looks:
        raise DataError(f"{name}: holds no file that can be looked into ({endings.KNOWN})")
    size = sum(look.size for look in looks)
    whole = form == ".zip" or members == len(looks) or read < UNPACKED
    scale = members / len(looks) if form == ".zip" else 1 if whole else max(1.0, path.stat().st_size / max(read, 1))
    charsets_found = {look.charset.name: look.charset for look in looks}
    charset = next(iter(charsets_found.values())) if len(charsets_found) == 1 else Charset(AUTO)
    rows = [row for look in looks for row in look.rows]
    return Sample(_spread(rows), sum(look.count for look in looks) * scale, round(size * scale), charset)


def _of_web_archive(path: Path, packed: bool, name: str) -> Sample:
    """The first pages; as many more as the file's size lets expect."""
    found = web_archives.rows(path, packed, name, WebRecords(), AUTO, LIMIT, PAGES, Budget(LOOKED_THROUGH))
    rows = list(islice(found, WEB_PAGES + 1))
    there = path.stat().st_size
    if len(rows) <= WEB_PAGES:
        count: float = len(rows)
    else:
        count = WEB_PAGES * there / max(int(rows[-1].position.rpartition(" ")[2]), 1)
    text = sum(len(str((row.values or {}).get("text", "")).encode()) for row in rows)
    return Sample(rows, count, round(text * max(count, 1) / max(len(rows), 1)), UTF8)


def _of_dictionary(file: IO[bytes], held: int, size: int, index: Path) -> Sample:
    entries = dictionaries.entries(index)
    there = [entry for entry in entries if entry.start + entry.size <= held]
    raw = b"".join(piece for _, piece in dictionaries.pieces(file, _spread(there)))
    charset = charsets.guess(raw)
    rows = list(dictionaries.rows(file, _spread(there), charset.name, LIMIT))
    return Sample(rows, len(entries), size, charset)


def _of_mail(file: IO[bytes], form: str, size: int, held: int) -> Sample:
    file.seek(0)
    buffered = io.BufferedReader(cast(io.RawIOBase, file)) if not isinstance(file, io.BufferedReader) else file
    if form == ".eml":
        return Sample(list(mail.one(buffered, LIMIT, PAGES)), 1, size, UTF8)
    raws, read = list[bytes](), 0
    for raw in mail.messages(buffered, LIMIT):
        raws.append(raw)
        read += len(raw)
        if read > WHOLE:
            break
    count = len(raws) if read <= WHOLE and held == size else len(raws) * size / max(read, 1)
    chosen = _spread(list(enumerate(raws, 1)))
    return Sample([mail.read(raw, f"message {number}", PAGES) for number, raw in chosen], count, size, UTF8)


def _thinned(found: Iterator[Row]) -> tuple[list[Row], int]:
    """(at most `MANY` of them, evenly, how many there are)."""
    kept, every, there = list[Row](), 1, 0
    for there, row in enumerate(found, 1):
        if (there - 1) % every == 0:
            kept.append(row)
        if len(kept) > MANY:
            kept, every = kept[::2], 2 * every
    return kept, there


def _spread(found: list[Any]) -> list[Any]:
    """At most `ROWS` of them, evenly."""
    return found[:: -(-len(found) // ROWS)] if found else []


def _buffered(raw: bytes) -> io.BufferedReader:
    return io.BufferedReader(cast(io.RawIOBase, io.BytesIO(raw)))
