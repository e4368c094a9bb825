"""Readers of text, CSV, JSON and JSON lines: a stream of rows, never the whole file."""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, TextIO

from tasks.collect import charsets
from tasks.core.errors import DataError

ENCODING, SIZE, COLUMN = "encoding=auto", "max_document_mb", "text (or label, title, messages, columns)"
PAGE_SIZE, PAGE_TIME = "max_page_mb", "max_page_seconds"
"""The options that an unreadable row may be let in by."""
MOST_PARTS, PART = 2_000_000, 32
"""Values of JSON and fields of CSV that one record may always have, and the characters of the largest record for each
more: every one is a Python object of 50 to 100 bytes, however short."""
TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{,\]}]', re.DOTALL)
"""What values of JSON begin with, stand between or end with."""
CHUNK = 1 << 16
"""Characters of a JSON file that are read at once; more where one value has more."""
NEAR_END = 16
"""Characters before the end of what was read within which a value that breaks off need not be damaged."""


@dataclass(frozen=True)
class Row:
    """One row as it stands in a file, or why it cannot be read."""

    position: str
    values: dict[str, Any] | None
    reason: str = ""
    address: str = ""
    """The page's own address in a web archive."""
    given: bool = False
    """Its fields are the reader's, "text" and perhaps "title", whatever columns the source names."""
    option: str = ""
    """The option of the source that may let an unreadable row in; empty for none."""
    attachments: int = 0
    """Files in a mail, which are left out."""
    beyond: str = ""
    """The limit that a row was set aside for, as the statistics count it; such rows are not unreadable."""


def whole(file: io.BufferedReader, name: str, encoding: str, limit: int) -> Iterator[Row]:
    """The file as one row with the field "text"."""
    raw = file.read(limit + 1)
    if len(raw) > limit:
        yield Row("file", None, f"holds {beyond(limit)}", option=SIZE)
        return
    _refuse_bom(raw, name, encoding)
    try:
        yield Row("file", {"text": raw.decode(_with_signature(encoding))}, given=True)
    except UnicodeDecodeError as error:
        yield Row("file", None, not_decoded(error), option=ENCODING)


def json_lines(file: io.BufferedReader, name: str, encoding: str, limit: int) -> Iterator[Row]:
    """One row for each line that is not blank; a line that is no JSON object is a row with a reason."""
    for number, line in _lines(file, name, encoding, limit):
        where = f"line {number}"
        if isinstance(line, UnicodeDecodeError):
            yield Row(where, None, not_decoded(line), option=ENCODING)
        elif isinstance(line, ValueError):
            yield Row(where, None, str(line), option=SIZE)
        elif "\0" in line:
            yield Row(where, None, "holds NUL bytes: it is no text, or `encoding` is another one", option=ENCODING)
        elif line.strip():
            if too_many_values(line, 0, limit):
                yield Row(where, None, f"holds {too_many(limit, 'values')}", option=SIZE)
                continue
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield Row(where, None, f"is no JSON: {error}")
                continue
            found = isinstance(value, dict)
            yield Row(where, value if found else None, "" if found else f"holds {kind_of(value)}, not a JSON object")


def json_values(file: io.BufferedReader, name: str, encoding: str, limit: int) -> Iterator[Row]:
    """One row for each object of a JSON file: of its list, or one after another, on a line each or not.

    A list may hold texts instead, as `datasets` takes them: each is the field "text" of a row. Anything else is a row
    with a reason. Raises `DataError` for what is no JSON, and for a value beyond the limit.
    """
    _refuse_bom(file.peek(4)[:4], name, encoding)
    text = io.TextIOWrapper(file, encoding=_with_signature(encoding))
    try:
        for number, (value, listed) in enumerate(_values(text, name, limit), 1):
            value = {"text": value} if listed and isinstance(value, str) else value
            found = isinstance(value, dict)
            wrong = "" if found else f"holds {kind_of(value)}, not a JSON object"
            yield Row(f"row {number}", value if found else None, wrong)
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: {not_decoded(error)}") from error


def _values(text: TextIO, name: str, limit: int) -> Iterator[tuple[Any, bool]]:
    """(value, whether it is a list's) for each."""
    window, number = _Window(text), 0
    listed = window.first() == "["
    if listed:
        window.skip()
    while (char := window.first()) and not (listed and char == "]"):
        number += 1
        yield window.value(f"{name}, row {number}", limit), listed
        if listed and window.first() == ",":
            window.skip()
        elif listed and window.first() != "]":
            raise DataError(f"{name}, after row {number}: its list is cut off or damaged: fix it, or make it again")
    if listed and not char:
        raise DataError(f"{name}, after row {number}: its list is cut off: make the file again")
    if listed:
        window.skip()
        if window.first():
            raise DataError(f"{name}, after row {number}: something follows its list: fix it, or make it again")


class _Window:
    """What was read of a JSON file and not taken yet."""

    def __init__(self, text: TextIO) -> None:
        self.text, self.held, self.at, self.ended = text, "", 0, False
        self.decoder = json.JSONDecoder()

    def first(self) -> str:
        """The next character that is no white space; empty at the file's end."""
        while (found := NOT_BLANK.search(self.held, self.at)) is None and not self.ended:
            self.at = len(self.held)
            self._read()
        self.at = found.start() if found else len(self.held)
        return self.held[self.at : self.at + 1]

    def skip(self) -> None:
        self.at += 1

    def value(self, where: str, limit: int) -> Any:
        """The value that begins here; raises `DataError` if it is none or is beyond the limit."""
        while True:
            if too_many_values(self.held, self.at, limit):
                raise DataError(f"{where}: holds {too_many(limit, 'values')}")
            try:
                value, end = self.decoder.raw_decode(self.held, self.at)
                if end < len(self.held) or self.ended:  # a number may go on in what is not read yet
                    self.at = end
                    return value
            except RecursionError as error:
                raise DataError(f"{where}: is no JSON that can be read: it is nested too deep") from error
            except json.JSONDecodeError as error:
                breaks_off = error.msg.startswith("Unterminated") or error.pos > len(self.held) - NEAR_END
                if self.ended or not breaks_off:
                    raise DataError(f"{where}: is no JSON: {error.msg}: fix it, or make the file again") from error
            except ValueError as error:  # a number of thousands of digits, which Python does not read
                raise DataError(f"{where}: is no JSON that can be read: {error}: fix it, or take it out") from error
            if len(self.held) - self.at > limit:
                raise DataError(too_large(where, limit))
            self._read()

    def _read(self) -> None:
        rest = self.held[self.at :]
        piece = self.text.read(max(CHUNK, len(rest)))  # twice as much each time, for a value is parsed anew
        self.held, self.at, self.ended = rest + piece, 0, not piece


NOT_BLANK = re.compile(r"\S")


def too_many_values(text: str, at: int, limit: int) -> bool:
    """Whether the JSON value that begins there has more parts than fit into memory; looks at large ones alone."""
    most = max(MOST_PARTS, limit // PART)
    if len(text) - at <= most:
        return False
    found = depth = 0
    for token in TOKEN.finditer(text, at):
        sign = token[0][:1]
        depth += (sign in "[{") - (sign in "]}")
        found += sign not in "]}"
        if found > most or not depth:
            return found > most
    return False


def too_many(limit: int, parts: str) -> str:
    """What to say of a record of more parts than there may be."""
    return (
        f"more than {max(MOST_PARTS, limit // PART):,} {parts} in one record: split it into documents, or raise "
        "max_document_mb of the source"
    )


def separated(
    file: io.BufferedReader, name: str, encoding: str, limit: int, wanted: list[str], delimiter: str, quoting: str
) -> Iterator[Row]:
    """One row for each record below the header line, at the line where it begins.

    Raises `DataError` for a wanted column that is not there, a header that names a column twice, for what is no CSV,
    and, of quoting "auto", for a record whose quotes hold several lines that are records without them.
    """
    csv.field_size_limit(limit)
    lines = _Record(decoded(file, name, encoding, limit), delimiter, name, limit)
    plain = quoting == "none"
    reader = csv.reader(
        lines, delimiter=delimiter, strict=not plain, quoting=csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL
    )
    try:
        header = next(reader, None)
        if header is None:
            return
        _refuse_twice(header, name)
        require(wanted, header, name)
        begin = reader.line_num + 1
        lines.begin()
        for fields in reader:
            where, begin = f"line {begin}", reader.line_num + 1
            if quoting == "auto" and lines.count > 1 and lines.alike == len(header) - 1 > 0:
                raise DataError(
                    f"{name}, {where}: {lines.count} lines are one record by their quotes, and each is one without "
                    "them: set `quoting: none` for the source if quotes are letters like others, `quoting: double` if "
                    "this is one record"
                )
            lines.begin()
            if len(fields) == len(header):
                yield Row(where, dict(zip(header, fields, strict=True)))
            elif fields:
                yield Row(where, None, f"has {len(fields)} fields where the header has {len(header)}")
    except csv.Error as error:
        if str(error).startswith("field larger"):
            raise DataError(too_large(f"{name}, line {reader.line_num - lines.count + 1}", limit)) from error
        raise DataError(
            f"{name}, line {reader.line_num}: is not well-formed CSV ({error}): quote fields that hold quotes, "
            "delimiters or line breaks, and double the quotes inside; or set `quoting: none` for the source if its "
            "quotes are letters like others"
        ) from error


class _Record:
    """Lines, and what those of the record at hand are; raises `DataError` for a record that is too large.

    The csv module holds a whole record, and its own limit is one of a field.
    """

    def __init__(self, lines: Iterator[str], delimiter: str, name: str, limit: int) -> None:
        self._lines, self._delimiter, self._name, self._limit, self._number = lines, delimiter, name, limit, 0
        self._between = re.compile(re.escape(delimiter) + r"(?! )")  # in prose a comma is followed by a space
        self.begin()

    def begin(self) -> None:
        """Another record begins with the next line."""
        self.count, self.alike, self._first, self._size, self._fields = 0, -1, "", 0, 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self._number, self.count, self._size = self._number + 1, self.count + 1, self._size + len(line)
        self._fields += line.count(self._delimiter)
        where = self._number - self.count + 1
        if self._size > self._limit + SLACK:
            raise DataError(too_large(f"{self._name}, line {where}", self._limit))
        if self._fields > max(MOST_PARTS, self._limit // PART):
            raise DataError(f"{self._name}, line {where}: holds {too_many(self._limit, repr(self._delimiter))}")
        if self.count == 1:
            self._first = line
        else:
            self.alike = self._columns(self._first) if self.count == 2 else self.alike
            self.alike = self.alike if self.alike >= 0 and self.alike == self._columns(line) else -1
        return line

    def _columns(self, line: str) -> int:
        return len(self._between.findall(line))


SLACK = 1 << 20
"""Characters of a CSV record beside its text."""


def _refuse_twice(header: list[str], name: str) -> None:
    times = Counter(header)
    twice = next((column for column in header if times[column] > 1), None)
    if twice is not None:
        places = " and ".join(str(at) for at, column in enumerate(header, 1) if column == twice)
        raise DataError(
            f"{name}, line 1: names the column {twice!r} {header.count(twice)} times (columns {places}): rename all "
            "but one"
        )


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
        yield from enumerate(decoded(file, name, encoding, limit), 1)
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


def decoded(file: io.BufferedReader, name: str, encoding: str, limit: int) -> Iterator[str]:
    """The lines of a file; raises `DataError` for one that is no text in the encoding, or longer than the limit."""
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
        raise DataError(f"{name}, after line {number}: {not_decoded(error)}") from error


def _with_signature(encoding: str) -> str:
    return "utf-8-sig" if encoding == "utf-8" else encoding


def _refuse_bom(start: bytes, name: str, encoding: str) -> None:
    looks = next((found for bom, found in charsets.MARKS.items() if start.startswith(bom)), None)
    if looks and looks != "utf-8" and not encoding.startswith(("utf-16", "utf-32")):
        raise DataError(f"{name}: starts like {looks}, not {encoding}: set `encoding: {looks}` for the source, or auto")


def not_decoded(error: UnicodeDecodeError) -> str:
    """What to say of bytes that are no text in the encoding."""
    return (
        f"is not valid {error.encoding.removesuffix('-sig')} (byte 0x{error.object[error.start]:02x} at "
        f"{error.start}): set `encoding` of the source (auto finds it for each file), or fix the file"
    )


def listed(names: Collection[str], most: int = 30) -> str:
    """Names of columns, in quotes; of very many the first ones."""
    said = ", ".join(repr(name[:100]) for name in islice(names, most))
    return said + (f" and {len(names) - most:,} more" if len(names) > most else "")


def require(wanted: list[str], there: list[str], name: str) -> list[str]:
    """The columns that hold what is wanted, of a.b the column a; raises `DataError` for one that is not there or that
    two columns are named."""
    found = [column if column in there else column.partition(".")[0] for column in wanted]
    for column, asked in zip(found, wanted, strict=True):
        if column not in there:
            raise DataError(
                f"{name}: has no column {asked!r}; there are {listed(there)}: name the right one "
                "(text, label, title or messages of the source)"
            )
        if there.count(column) > 1:
            raise DataError(f"{name}: names the column {column!r} {there.count(column)} times: rename all but one")
    return list(dict.fromkeys(found))
