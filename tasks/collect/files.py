"""Documents from files, whatever their format and wherever they lie: here, on S3, on a web server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from conf.schema.data import ReadSource
from tasks.collect import bucket, endings, formats, http, tables, unpack, web
from tasks.collect.chitchat import as_text
from tasks.collect.documents import Documents
from tasks.collect.formats import Row, kind_of
from tasks.core.errors import DataError


def collect(entry: dict[str, Any], conf: ReadSource, documents: Documents, scratch: Path) -> None:
    """Add the documents of one file.

    Raises `DataError` for a file that cannot be read as what its ending says, that has changed since it was listed,
    and when more than `conf.max_bad_rows` rows of the shard are unreadable; each names the source's options.
    """
    try:
        with _local_copy(entry, scratch) as path:
            form, compression = endings.split(entry["uri"]) or ("", "")
            if form not in endings.ARCHIVES:
                _read(path, entry, conf, documents, scratch)
                return
            with (
                _seekable(path, compression if form == ".zip" else "", entry["uri"], scratch) as packed,
                unpack.archive(packed, form, compression, entry["uri"]) as members,
            ):
                for member in members:
                    inside = {key: f"{entry[key]}!{member.name}" for key in ("uri", "name")}
                    if member.file is None:
                        documents.set_aside(inside["uri"], "file", member.reason, readable=True)
                    else:
                        _read(member.file, inside, conf, documents, scratch)
    except DataError as error:
        raise DataError(f"{error} (the source is data.sources.{documents.source})") from error


def _read(file: Path | IO[bytes], entry: dict[str, Any], conf: ReadSource, documents: Documents, scratch: Path) -> None:
    for row in _rows(file, entry["uri"], conf, scratch):
        _add(row, entry, conf, documents)
        _check_bad_rows(entry["uri"], conf, documents)


@contextmanager
def _local_copy(entry: dict[str, Any], scratch: Path) -> Iterator[Path]:
    uri = entry["uri"]
    if uri.startswith(("http://", "https://")):
        copy = http.download(entry, scratch)
        yield copy
        copy.unlink()
        return
    if not uri.startswith("s3://"):
        _check_unchanged(entry)
        yield Path(uri)
        _check_unchanged(entry)
        return
    copy = scratch / "object"
    try:
        bucket.download(uri, entry["stamp"], copy)
        yield copy
    finally:
        copy.unlink(missing_ok=True)


def _check_unchanged(entry: dict[str, Any]) -> None:
    try:
        at = Path(entry["uri"]).stat()
    except FileNotFoundError:
        raise DataError(f"{entry['uri']} has gone since it was listed: run again") from None
    if (at.st_size, str(at.st_mtime_ns)) != (entry["size"], entry["stamp"]):
        raise DataError(f"{entry['uri']} has changed since it was listed: run again")


def _rows(file: Path | IO[bytes], name: str, conf: ReadSource, scratch: Path) -> Iterator[Row]:
    form, compression = endings.split(name) or ("", "")
    limit = conf.max_document_mb * 1_000_000
    wanted = [conf.messages or conf.text, *([conf.label] if conf.label else [])]
    if form in endings.TABLES:
        with _seekable(file, compression, name, scratch) as path:
            yield from tables.rows(path, form, name, wanted)
        return
    with unpack.opened(file, compression, name) as plain:
        if form == ".jsonl":
            yield from formats.json_lines(plain, name, conf.encoding, limit)
        elif form in (".csv", ".tsv"):
            delimiter = "," if form == ".csv" else "\t"
            yield from formats.separated(plain, name, conf.encoding, limit, wanted, delimiter)
        elif form in (".html", ".htm"):
            yield from map(web.main_text, formats.whole(plain, name, conf.encoding, limit))
        else:
            yield from formats.whole(plain, name, conf.encoding, limit)


@contextmanager
def _seekable(file: Path | IO[bytes], compression: str, name: str, scratch: Path) -> Iterator[Path]:
    """The file itself, or a copy of what it holds packed."""
    if isinstance(file, Path) and not compression:
        yield file
        return
    plain = scratch / ("unpacked" if isinstance(file, Path) else "member")  # a member's archive may be a copy too
    try:
        with unpack.opened(file, compression, name) as packed, plain.open("wb") as out:
            shutil.copyfileobj(packed, out, bucket.CHUNK)
        yield plain
    finally:
        plain.unlink(missing_ok=True)


def _add(row: Row, entry: dict[str, Any], conf: ReadSource, documents: Documents) -> None:
    if row.values is None:
        documents.set_aside(entry["uri"], row.position, row.reason)
        return
    uri = entry["name"] if row.position == "file" else f"{entry['name']}#{row.position.split()[1]}"
    messages = None
    try:
        if conf.messages and row.position != "file":
            messages = _conversation(row.values, conf.messages)
        text = as_text(messages) if messages else _text(row.values, "text" if row.position == "file" else conf.text)
        label = _label(row.values, conf.label)
    except ValueError as error:
        documents.set_aside(entry["uri"], row.position, str(error))
        return
    if len(text) > conf.max_document_mb * 1_000_000:
        raise DataError(formats.too_large(f"{entry['uri']}, {row.position}", conf.max_document_mb * 1_000_000))
    documents.add(text, uri, conf.licence, label, messages)


def _text(values: dict[str, Any], field: str) -> str:
    if field not in values:
        raise ValueError(f"has no field {field!r}; there are {', '.join(map(repr, values)) or 'none'}")
    value = values[field]
    if not isinstance(value, str):
        raise ValueError(f"its field {field!r} holds {kind_of(value)} where text should be")
    return value


def _label(values: dict[str, Any], field: str | None) -> str | None:
    value = values.get(field) if field else None
    if isinstance(value, (list, dict, float)):
        raise ValueError(f"its field {field!r} holds {kind_of(value)} where a label should be")
    return None if value is None or value == "" else str(value)


def _conversation(values: dict[str, Any], field: str) -> list[dict[str, str]]:
    found = values.get(field)
    if not isinstance(found, list) or not found:
        raise ValueError(f"its field {field!r} holds {kind_of(found)} where a list of messages should be")
    for message in found:
        if not isinstance(message, dict) or not all(isinstance(message.get(key), str) for key in ("role", "content")):
            raise ValueError(f"its field {field!r} holds a message that is no {{role, content}} of texts")
    return [{"role": message["role"], "content": message["content"]} for message in found]


def _check_bad_rows(name: str, conf: ReadSource, documents: Documents) -> None:
    bad = documents.counts["unreadable"]
    if bad > conf.max_bad_rows:
        first, last = documents.first_unreadable, "" if name in documents.first_unreadable else f", the last in {name}"
        raise DataError(
            f"{first} ({bad} unreadable{last}; max_bad_rows of the source allows {conf.max_bad_rows}: mend the file, "
            "or raise it to set such rows aside)"
        )
