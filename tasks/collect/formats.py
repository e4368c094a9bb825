"""Readers of text, CSV and JSON lines: a stream of rows, never the whole file."""

from __future__ import annotations

import codecs
import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tasks.core.errors import DataError

BOMS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass(frozen=True)
class Row:
    """One row as it stands in a file, or why it cannot be read."""

    position: str
    values: dict[str, Any] | None
    reason: str = ""
    uri: str = ""
    """The document's own address, where it has one; its field is then "text"."""


def whole(file: io.BufferedReader, name: str, encoding: str, limit: int) -> Iterator[Row]:
    """The file as one row with the field "text"."""
    raw = file.read(limit + 1)
    if len(raw) > limit:
        raise DataError(too_large(name, limit))
    _refuse_bom(raw, name, encoding)
    try:
        yield Row("file", {"text": raw.decode(_with_signature(encoding))})
    except UnicodeDecodeError as error:
        yield Row("file", None, _not_decoded(error))


def json_lines(file: io.BufferedReader, name: str, encoding: str, limit: int) -> Iterator[Row]:
    """One row for each line that is not blank; a line that is no JSON object is a row with a reason."""
    for number, line in _lines(file, name, encoding, limit):
        where = f"line {number}"
        if isinstance(line, UnicodeDecodeError):
            yield Row(where, None, _not_decoded(line))
        elif isinstance(line, ValueError):
            yield Row(where, None, str(line))
        elif "\0" in line:
            yield Row(where, None, "holds NUL bytes: it is no text, or `encoding` is another one")
        elif line.strip():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield Row(where, None, f"is no JSON: {error}")
                continue
            found = isinstance(value, dict)
            yield Row(where, value if found else None, "" if found else f"holds {kind_of(value)}, not a JSON object")


def separated(
    file: io.BufferedReader, name: str, encoding: str, limit: int, wanted: list[str], delimiter: str
) -> Iterator[Row]:
    """One row for each record below the header line; raises `DataError` for a wanted column that is not there."""
    csv.field_size_limit(limit)
    reader = csv.reader(_decoded(file, name, encoding, limit), delimiter=delimiter, strict=True)
    try:
        header = next(reader, None)
        if header is None:
            return
        require(wanted, header, name)
        for fields in reader:
            where = f"line {reader.line_num}"
            if len(fields) == len(header):
                yield Row(where, dict(zip(header, fields, strict=True)))
            elif fields:
                yield Row(where, None, f"has {len(fields)} fields where the header has {len(header)}")
    except csv.Error as error:
        raise DataError(
            f"{name}, line {reader.line_num}: is not well-formed CSV ({error}): quote fields that hold quotes, "
            "delimiters or line breaks, and double the quotes inside"
        ) from error


def kind_of(value: Any) -> str:
    """A value's kind, in words for a message."""
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return "null" if value is None else names.get(type(value), f"a {type(value).__name__}")


def too_large(name: str, limit: int) -> str:
    """What to say of a text beyond the limit."""
    return f"{name}: holds {beyond(limit)}"


def beyond(limit: int) -> str:
    """The end of a message about a text beyond the limit."""
    return (
        f"a text of more than {limit / 1e6:g} MB: split it into documents (JSON lines), or raise max_document_mb of "
        "the source"
    )


def _lines(file: io.BufferedReader, name: str, encoding: str, limit: int) -> Iterator[tuple[int, str | ValueError]]:
    """Numbered lines; in place of one that does not decode or passes the limit, why (read on, it is skipped)."""
    if "\n".encode(encoding) != b"\n":
        yield from enumerate(_decoded(file, name, encoding, limit), 1)
        return
    number = 0
    while raw := file.readline(limit + 1):
        if len(raw) > limit:
            number += 1
            yield number, ValueError(f"holds {beyond(limit)}")
            while raw and not raw.endswith(b"\n"):
                raw = file.readline(1 << 20)
            continue
        if not number:
            _refuse_bom(raw, name, encoding)
            encoding = _with_signature(encoding)
        number += 1
        try:
            yield number, raw.decode(encoding)
        except UnicodeDecodeError as error:
            yield number, error


def _decoded(file: io.BufferedReader, name: str, encoding: str, limit: int) -> Iterator[str]:
    _refuse_bom(file.peek(4)[:4], name, encoding)
    text = io.TextIOWrapper(file, encoding=_with_signature(encoding), newline="")
    number = 1
    try:
        while line := text.readline(limit + 1):
            if len(line) > limit:
                raise DataError(too_large(f"{name}, line {number}", limit))
            if "\0" in line:
                raise DataError(f"{name}, line {number}: holds NUL bytes: it is no text, or `encoding` is another one")
            yield line
            number += 1
    except UnicodeDecodeError as error:
        raise DataError(f"{name}, after line {number}: {_not_decoded(error)}") from error


def _with_signature(encoding: str) -> str:
    return "utf-8-sig" if encoding == "utf-8" else encoding


def _refuse_bom(start: bytes, name: str, encoding: str) -> None:
    looks = next((found for bom, found in BOMS.items() if start.startswith(bom)), None)
    if looks and not encoding.startswith(("utf-16", "utf-32")):
        raise DataError(f"{name}: starts like {looks}, not {encoding}: set `encoding: {looks}` for the source")


def _not_decoded(error: UnicodeDecodeError) -> str:
    return (
        f"is not valid {error.encoding.removesuffix('-sig')} (byte 0x{error.object[error.start]:02x} at "
        f"{error.start}): set `encoding` of the source (cp1252 and latin-1 are usual), or mend the file"
    )


def require(wanted: list[str], there: list[str], name: str) -> None:
    """Raise `DataError` for a wanted column that is not there."""
    for column in wanted:
        if column not in there:
            raise DataError(
                f"{name}: has no column {column!r}; there are {', '.join(map(repr, there))}: name the right one "
                "(text, label or messages of the source)"
            )
