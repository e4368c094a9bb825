"""Dictionaries as dictd keeps them: entries one after another, and beside them an index of where each is."""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from tasks.collect import endings, text_formats
from tasks.collect.text_formats import Row
from tasks.core.errors import DataError

DIGITS = {
    char: value for value, char in enumerate(string.ascii_uppercase + string.ascii_lowercase + string.digits + "+/")
}
"""In which an index writes numbers, the highest digit first."""
ABOUT = ("00database", "00-database")
"""How the headwords begin that say something about the dictionary itself."""


@dataclass(frozen=True, order=True)
class Entry:
    """Where an entry is in the unpacked file, in bytes."""

    start: int
    size: int
    headword: str
    """The first of those that lead to it."""


def index_of(path: Path) -> Path | None:
    """The index beside a dictionary's file, or beside what it links to, if there is one."""
    for file in (path, path.resolve()):
        end = file.name.lower().rfind(endings.DICTIONARY)
        if end >= 0 and (found := file.with_name(f"{file.name[:end]}.index")).is_file():
            return found
    return None


def entries(index: Path) -> list[Entry]:
    """The entries in the order of the file, each once; raises `DataError` for a line that is none of an index."""
    found: dict[tuple[int, int], str] = {}
    for number, line in enumerate(index.read_bytes().splitlines(), 1):
        fields = line.decode("utf-8", "replace").split("\t")
        if len(fields) < 3 or not all(map(set(DIGITS).issuperset, fields[1:3])) or not all(fields[1:3]):
            raise DataError(
                f"{index}, line {number}: is no line of an index (headword, offset and length between tabs): make it "
                "again with dictfmt, or move it away: the dictionary is left out then"
            )
        if not fields[0].startswith(ABOUT):
            found.setdefault((_number(fields[1]), _number(fields[2])), fields[0])
    return sorted(Entry(start, size, headword) for (start, size), headword in found.items())


def _number(digits: str) -> int:
    value = 0
    for digit in digits:
        value = 64 * value + DIGITS[digit]
    return value


def pieces(file: IO[bytes], wanted: Iterable[Entry]) -> Iterator[tuple[Entry, bytes]]:
    """The bytes of some entries of the unpacked file, of one beyond its end as many as there are."""
    for entry in wanted:
        file.seek(entry.start)
        yield entry, file.read(entry.size)


def rows(file: IO[bytes], wanted: Iterable[Entry], encoding: str, limit: int) -> Iterator[Row]:
    """One row for each entry, its headword as the title; one that cannot be read is a row with a reason."""
    for entry in wanted:
        where = f"byte {entry.start}"
        if entry.size > limit:
            yield Row(where, None, f"holds {text_formats.beyond(limit)}", option=text_formats.SIZE)
            continue
        _, raw = next(pieces(file, [entry]))
        if len(raw) < entry.size:
            yield Row(where, None, "ends beyond the file: its .index belongs to another dictionary")
        else:
            try:
                yield Row(where, {"text": raw.decode(encoding), "title": entry.headword}, given=True)
            except UnicodeDecodeError as error:
                yield Row(where, None, text_formats.not_decoded(error), option=text_formats.ENCODING)
