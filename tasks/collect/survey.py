"""A first look at a folder of text: what is there, which columns hold the text, what cannot be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tasks.collect import endings, files, formats, places, tables, unpack
from tasks.collect.formats import Row
from tasks.core.errors import DataError
from tasks.text import roles

FILES, TEXTS, ROWS = 12, 400, 200
"""How many files of each format and how many plain texts are opened, spread over all; rows that are read of each."""
HEAD = 1 << 18
"""Bytes at a file's beginning by which its encoding is judged."""
UNPACKED = 4
"""How many times larger a compressed file is taken to be."""
TEXT_NAMES = ("text", "content", "body", "document", "article", "markdown", "message", "description", "completion")
LABEL_NAMES = ("label", "category", "class", "topic", "section", "tag", "target", "sentiment")
MOST_LABELS, FEWEST_ROWS = 50, 20
LIMIT = 1 << 30
"""Bytes of one text; the most that a source can allow."""
PLAIN = "text"
"""The format of files that are one document each."""

Kind = tuple[str, str, str | None, str | None, str | None]
"""Format, encoding, and the columns of text, label and messages: what one source can read together."""


@dataclass(frozen=True)
class Look:
    """What the first rows of one file show."""

    kind: Kind
    rows: int
    size: int
    """Bytes of the rows that were read."""
    whole: bool
    """The file has no more rows."""
    bad: str
    """Why the first of the unreadable rows cannot be read; empty if all can."""
    labels: Counter[str]
    beginnings: tuple[str, ...]


@dataclass(frozen=True)
class Group:
    """Files of one kind."""

    kind: Kind
    entries: list[dict[str, Any]]
    looks: list[Look]

    @property
    def size(self) -> int:
        """Bytes, compressed files as if unpacked."""
        return sum(_unpacked(entry) for entry in self.entries)

    @property
    def documents(self) -> int:
        """How many there are, or seem to be by the rows that were read."""
        if self.kind[0] == PLAIN:
            return sum(entry["size"] > 0 for entry in self.entries)
        rows, size = sum(look.rows for look in self.looks), sum(look.size for look in self.looks)
        if len(self.looks) == len(self.entries) and all(look.whole for look in self.looks):
            return rows
        return max(rows, self.size * rows // max(size, 1))

    @property
    def labels(self) -> dict[str, int]:
        """How many documents each label seems to have."""
        seen = sum((look.labels for look in self.looks), Counter[str]())
        return {label: self.documents * n // max(seen.total(), 1) for label, n in sorted(seen.items())}

    @property
    def bad(self) -> list[str]:
        """Why rows cannot be read, one reason for each file that has such."""
        return [look.bad for look in self.looks if look.bad]


@dataclass(frozen=True)
class Skipped:
    """A file that cannot be read."""

    uri: str
    form: str
    why: str


@dataclass(frozen=True)
class Survey:
    """What a folder holds."""

    folder: Path
    groups: list[Group]
    """The largest first."""
    skipped: list[Skipped]
    """Files that cannot be read; no group has them."""
    empty: int
    """Files of no bytes."""
    others: dict[str, int]
    """Files whose endings are not known: how many of each."""


def survey(folder: Path) -> Survey:
    """Look at a folder; raises `DataError` if it is missing, no folder, or holds nothing that can be read."""
    if not folder.is_dir():
        raise DataError(
            f"{folder} is a file: give the folder that it lies in"
            if folder.exists()
            else f"there is no folder {folder}"
        )
    if not any(folder.iterdir()):
        raise DataError(f"{folder} is empty: put text into it ({endings.KNOWN})")
    entries = places.entries(folder.name, [str(folder)])
    looks, skipped = _looks(entries)
    usual: dict[str, Kind] = {}
    for look in looks.values():
        usual.setdefault(look.kind[0], look.kind)
    groups: dict[Kind, Group] = {}
    unreadable = {line.uri for line in skipped}
    for entry in entries:
        seen = looks.get(entry["uri"])
        kind = seen.kind if seen else usual.get(_form(entry))
        if kind is not None and entry["uri"] not in unreadable:
            group = groups.setdefault(kind, Group(kind, [], []))
            group.entries.append(entry)
            group.looks.extend([seen] if seen else [])
    if not groups:
        raise DataError(
            f"{folder} holds no text that can be read:\n" + "\n".join(f"  {one.why}" for one in skipped[:5])
        )
    others = Counter(path.suffix or path.name for path in folder.rglob("*") if path.is_file() and _is_other(path))
    return Survey(
        folder.absolute(), sorted(groups.values(), key=lambda group: -group.size), skipped,
        sum(not entry["size"] for entry in entries), dict(others.most_common()),
    )  # fmt: skip


def _is_other(path: Path) -> bool:
    return not endings.split(path.name) and not path.name.startswith(".")


def _form(entry: dict[str, Any]) -> str:
    form, _ = endings.split(entry["uri"]) or ("", "")
    return PLAIN if form in endings.DOCUMENTS else form


def _unpacked(entry: dict[str, Any]) -> int:
    packed = entry["uri"].lower().endswith((*endings.COMPRESSIONS, *endings.TABLES))
    return int(entry["size"]) * (UNPACKED if packed else 1)


def _looks(entries: list[dict[str, Any]]) -> tuple[dict[str, Look], list[Skipped]]:
    """A look at some files of each format, spread over all."""
    forms: dict[str, list[dict[str, Any]]] = {}
    for entry in entries:
        if entry["size"]:
            forms.setdefault(_form(entry), []).append(entry)
    looks, skipped = {}, []
    for form, found in forms.items():
        most = TEXTS if form == PLAIN else FILES
        for entry in found[:: -(-len(found) // most)]:
            try:
                looks[entry["uri"]] = look_at(Path(entry["uri"]))
            except DataError as error:
                skipped.append(Skipped(entry["uri"], form, str(error)))
    return looks, skipped


def look_at(path: Path) -> Look:
    """Read the first rows of a file; raises `DataError` if it cannot be read or holds no text."""
    form = _form({"uri": path.name})
    if form in (*endings.ARCHIVES, endings.WEB_ARCHIVE):
        raise DataError(f"{path}: is not looked into: unpack it, or add it to `paths` yourself (a run reads archives)")
    encoding = "utf-8" if form in endings.TABLES else _encoding(path, form)
    rows = list(islice(_rows(path, form, encoding), ROWS))
    bad = next((f"{path}, {row.position}: {row.reason}" for row in rows if row.values is None), "")
    values = [row.values for row in rows if row.values is not None]
    if not values:
        raise DataError(bad or f"{path} holds no rows")
    text, label, messages = (None, None, None) if form == PLAIN else _columns(values, path)
    if text is not None:
        without = next((row for row in rows if row.values and not isinstance(row.values.get(text), str)), None)
        bad = bad or (f"{path}, {without.position}: its field {text!r} holds no text" if without else "")
    labels = Counter(str(row[label]) for row in values if label and row.get(label) not in (None, ""))
    texts = [_beginning(row, text, messages) for row in values[:3]]
    beginnings = tuple(one[:200] for one in texts if isinstance(one, str))
    size = path.stat().st_size if form == PLAIN else sum(_size(row) for row in values)
    return Look((form, encoding, text, label, messages), len(values), size, len(rows) < ROWS, bad, labels, beginnings)


def _beginning(row: dict[str, Any], text: str | None, messages: str | None) -> Any:
    """What is said first in a row's conversation, or its text."""
    turn = roles.turn(row[messages][0]) if messages and roles.is_conversation(row.get(messages)) else None
    return turn[1] if turn else row.get(text or "text")


def _size(row: dict[str, Any]) -> int:
    """About the bytes that a row takes in its file."""
    return sum(len(str(name)) + len(str(value).encode(errors="replace")) + 6 for name, value in row.items())


def _encoding(path: Path, form: str) -> str:
    """Raises `DataError` for what is no text."""
    _, compression = endings.split(path.name) or ("", "")
    found = files.charset_of(path, form, compression, str(path)).name
    with unpack.opened(path, compression, str(path)) as file:
        if not found.startswith(("utf-16", "utf-32")) and b"\0" in file.read(HEAD):
            raise DataError(f"{path}: holds NUL bytes: it is no text, or in an encoding that has to be named")
    return found


def _rows(path: Path, form: str, encoding: str) -> Iterator[Row]:
    name = str(path)
    _, compression = endings.split(path.name) or ("", "")
    if compression and form in endings.TABLES:
        raise DataError(f"{name}: unpack it first, so that `fromzero init` can look into it")
    if form in endings.TABLES:
        yield from tables.rows(path, form, name, tables.columns(path, form, name))
        return
    with unpack.opened(path, compression, name) as file:
        if form == ".jsonl":
            yield from formats.json_lines(file, name, encoding, LIMIT)
        elif form == PLAIN:
            yield from formats.whole(file, name, encoding, LIMIT)
        else:
            yield from formats.separated(file, name, encoding, LIMIT, [], "," if form == ".csv" else "\t", "auto")


def _columns(rows: list[dict[str, Any]], path: Path) -> tuple[str | None, str | None, str | None]:
    """The columns that hold text, a label and conversations; raises `DataError` if there is neither text nor those."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    messages = next((name for name in names if _all(rows, name, roles.is_conversation)), None)
    sizes = {name: _length(rows, name) for name in names if _all(rows, name, lambda value: isinstance(value, str))}
    text = max(sizes, key=lambda name: sizes[name] * (4 if name.lower() in TEXT_NAMES else 1), default=None)
    if text is None and messages is None:
        there = ", ".join(map(repr, names))
        raise DataError(f"{path}: no column holds text in most rows; there are {there}: is it split by another sign?")
    label = next((name for name in names if name not in (text, messages) and _is_label(rows, name)), None)
    return (None if messages else text), label, messages


def _all(rows: list[dict[str, Any]], name: str, fits: Any) -> bool:
    """Four of five rows fit."""
    return sum(bool(fits(row.get(name))) for row in rows) >= 0.8 * len(rows)


def _length(rows: list[dict[str, Any]], name: str) -> float:
    return sum(len(row[name]) for row in rows if isinstance(row.get(name), str)) / len(rows)


def _is_label(rows: list[dict[str, Any]], name: str) -> bool:
    """Named like a label, with a few values that come again and again."""
    if not name.lower().endswith(LABEL_NAMES) or len(rows) < FEWEST_ROWS:
        return False
    if not _all(rows, name, lambda value: isinstance(value, (str, int)) and value != ""):
        return False
    values = {str(row[name]) for row in rows if row.get(name) not in (None, "")}
    return 2 <= len(values) <= min(MOST_LABELS, len(rows) // 4)
