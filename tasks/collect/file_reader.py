"""Documents from files, whatever their format."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any

from conf.schema.source import AUTO, ReadSource
from tasks.collect import (
    bucket,
    charsets,
    columnar,
    dictionaries,
    endings,
    mail,
    places,
    rows,
    tagged_tokens,
    text_formats,
    unpack,
    web,
    web_archives,
)
from tasks.collect.charsets import Charset
from tasks.collect.document_writer import Documents
from tasks.collect.text_formats import Row
from tasks.collect.unpack import Budget
from tasks.core.errors import DataError
from tasks.core.events import counted

Copy = Callable[[dict[str, Any]], AbstractContextManager[Path]]
"""What brings an entry's file here, for as long as it is read."""


def read(entries: Sequence[dict[str, Any]], conf: ReadSource, documents: Documents, scratch: Path, copy: Copy) -> None:
    """Add the documents of a shard's files, in their order.

    Raises `DataError` for a file that has changed since it was listed, and for more that cannot be read than `conf`
    allows.
    """
    budget = Budget(conf.max_file_gb)
    for entry in counted(entries, len(entries), "file"):
        collect(entry, conf, documents, scratch, budget, copy)
    documents.check(conf.max_bad_rows, conf.max_bad_files)


def collect(
    entry: dict[str, Any], conf: ReadSource, documents: Documents, scratch: Path, budget: Budget, copy: Copy
) -> None:
    """Add the documents of one file; what cannot be read of it is noted, and `Documents.check` says so in the end.

    `budget` is its shard's: what the files of it may unpack to.

    Raises `DataError` for a file that has changed since it was listed.
    """
    try:
        with copy(entry) as path:
            budget.begin(path.stat().st_size)
            try:
                _read_all(path, entry, conf, documents, scratch, budget)
            except DataError as error:
                documents.leave_out(entry["uri"], str(error))
    except DataError as error:
        raise DataError(f"{error} (the source is data.sources.{documents.source})") from error


def _read_all(
    path: Path, entry: dict[str, Any], conf: ReadSource, documents: Documents, scratch: Path, budget: Budget
) -> None:
    """A file, or each file of an archive."""
    _check_readable(path, entry["uri"])
    form, compression = endings.split(entry["uri"]) or ("", "")
    if form not in endings.ARCHIVES:
        _read(path, entry, conf, documents, scratch, budget)
        return
    with (
        _seekable(path, compression if form == ".zip" else "", entry["uri"], scratch, budget) as packed,
        unpack.archive(packed, form, compression, entry["uri"], budget) as members,
    ):
        for member in members:
            name = places.shown(member.name)
            inside = {key: f"{entry[key]}!{name}" for key in ("uri", "name")}
            if member.file is not None:
                _read(member.file, inside, conf, documents, scratch, budget)
            elif member.reason == unpack.UNKNOWN:
                documents.left_out[places.ending(name)] += 1
            else:
                documents.set_aside(inside["uri"], "file", member.reason, readable=True)


def _check_readable(path: Path, uri: str) -> None:
    try:
        path.open("rb").close()
    except PermissionError as error:
        raise DataError(
            f"{uri}: may not be read ({error.strerror}): make it readable for whoever runs this (chmod a+r), or take "
            "it out of the source's paths"
        ) from error


def _read(
    file: Path | IO[bytes],
    entry: dict[str, Any],
    conf: ReadSource,
    documents: Documents,
    scratch: Path,
    budget: Budget,
) -> None:
    name = entry["uri"]
    form, compression = endings.split(name) or ("", "")
    if conf.encoding != AUTO or form in (*endings.TABLES, *endings.MAIL, endings.WEB_ARCHIVE):
        for row in _rows(file, name, conf, conf.encoding, scratch, budget):
            rows.add(row, entry, conf, documents)
        return
    with nullcontext(file) if isinstance(file, Path) else _seekable(file, "", name, scratch, budget) as path:
        charset = charset_of(path, form, compression, name, budget)
        documents.note_encoding(name, charset)
        for row in _rows(path, name, conf, charset.name, scratch, budget):
            rows.add(row, entry, conf, documents)


def charset_of(path: Path, form: str, compression: str, name: str, budget: Budget) -> Charset:
    """The encoding of a file of text: of a page the one that it names, if that fits."""

    def opened() -> AbstractContextManager[IO[bytes]]:
        return unpack.opened(path, compression, name, budget.again())

    if form in endings.PAGES:
        with opened() as file:
            named = web.named(file.read(web.HEAD))
        if named and charsets.fits(opened, named):
            return Charset(named)
    return charsets.of(opened)


def _rows(
    file: Path | IO[bytes], name: str, conf: ReadSource, encoding: str, scratch: Path, budget: Budget
) -> Iterator[Row]:
    form, compression = endings.split(name) or ("", "")
    limit = conf.max_document_mb * 1_000_000
    pages = web.Limits(conf.max_page_mb, conf.max_page_seconds)
    wanted = [*conf.read_columns, *conf.more_columns]
    if form in endings.TABLES:
        with _seekable(file, compression, name, scratch, budget) as path:
            yield from columnar.rows(path, form, name, wanted, limit, budget)
        return
    if form == endings.WEB_ARCHIVE:
        packed = compression == ".gz"  # record by record, so that each has a place in the file
        with _seekable(file, "" if packed else compression, name, scratch, budget) as path:
            yield from web_archives.rows(path, packed, name, conf.web_records(), encoding, limit, pages, budget)
        return
    if form == endings.DICTIONARY and isinstance(file, Path) and (index := dictionaries.index_of(file)):
        with _seekable(file, compression, name, scratch, budget) as path, path.open("rb") as unpacked:
            for row in dictionaries.rows(unpacked, dictionaries.entries(index), encoding, limit):
                budget.spend(len(row.values["text"]) if row.values else 0, name)  # entries may lie over each other
                yield row
        return
    with unpack.opened(file, compression, name, budget) as plain:
        if form == ".jsonl":
            yield from text_formats.json_lines(plain, name, encoding, limit)
        elif form in endings.JSON:
            yield from text_formats.json_values(plain, name, encoding, limit)
        elif form in endings.SEPARATED:
            sign = endings.SEPARATED[form]
            yield from text_formats.separated(plain, name, encoding, limit, wanted, sign, conf.quoting)
        elif form in endings.TAGGED:
            yield from tagged_tokens.sentences(text_formats.decoded(plain, name, encoding, limit))
        elif form == ".eml":
            yield from mail.one(plain, limit, pages)
        elif form == ".mbox":
            yield from mail.many(plain, limit, pages)
        elif form in endings.PAGES:
            yield from (web.main_text(row, pages) for row in text_formats.whole(plain, name, encoding, limit))
        else:
            yield from text_formats.whole(plain, name, encoding, limit)


@contextmanager
def _seekable(file: Path | IO[bytes], compression: str, name: str, scratch: Path, budget: Budget) -> Iterator[Path]:
    """The file itself, or a copy of what it holds packed."""
    if isinstance(file, Path) and not compression:
        yield file
        return
    plain = scratch / ("unpacked" if isinstance(file, Path) else "member")  # a member's archive may be a copy too
    try:
        with unpack.opened(file, compression, name, budget) as packed, plain.open("wb") as out:
            shutil.copyfileobj(packed, out, bucket.CHUNK)
        yield plain
    finally:
        plain.unlink(missing_ok=True)
