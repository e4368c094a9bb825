"""A first look at a folder of text: what is there, which columns hold the text, what cannot be read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from conf.schema.source import AUTO
from tasks.collect import endings, fields, places, samples
from tasks.collect.charsets import Charset
from tasks.collect.document_writer import unfit
from tasks.collect.fields import Chosen, Turns
from tasks.collect.samples import Sample
from tasks.collect.text_formats import Row
from tasks.core.errors import DataError
from tasks.text.words import beginning

FILES = 20_000
"""Most files that are opened, spread over all."""
BUDGET, LEAST, MOST = 400_000_000, 1 << 14, 1 << 22
"""Bytes that are read of all files together; of each at least and at most."""
PLAIN = "text"
"""The format of files that are one document each."""
STARTS, QUESTIONS = 3, 20
"""Words of a text that a base model goes on from, and of what a person says that a chat model answers."""
ROWS = 2_000
"""Rows of one layout by which its columns are chosen."""
SPLITS = {"train", "test", "valid", "validation", "dev", "eval"}
"""Folders that are no classes."""
FEWEST_FILES = 10
"""Files of each folder that make a class of it."""

Entry = dict[str, Any]
Kind = tuple[str, str, str | None, str | None, str | Turns | None]
"""Format, encoding, and the columns of text, label and conversation: what one source can read together."""
Layout = tuple[str, tuple[str, ...]]
"""Format and fields of rows: files that have the same columns."""


@dataclass(frozen=True)
class Look:
    """What the rows of one file show."""

    entry: Entry
    sample: Sample

    @property
    def values(self) -> list[dict[str, Any]]:
        """The rows that can be read."""
        return [row.values for row in self.sample.rows if row.values is not None]

    @property
    def chosen(self) -> list[dict[str, Any]]:
        """Those of them that have columns, of which a source names some."""
        return [row.values for row in self.sample.rows if row.values is not None and not row.given]

    @property
    def layout(self) -> Layout:
        """Rows of JSON need not all have all fields; those of the first ones tell. What a reader gives is no row."""
        return form_of(self.entry), tuple(sorted({name for row in self.chosen[:20] for name in row}))


@dataclass(frozen=True)
class Group:
    """Files of one kind."""

    kind: Kind
    entries: list[Entry]
    looks: list[Look]
    title: str | None
    """A column that seems to hold titles."""
    size: int
    """Bytes, compressed files as if unpacked."""
    documents: int
    """How many there are, or seem to be by the rows that were read."""
    exact: bool
    """Every file was read whole."""
    labels: dict[str, int]
    """How many documents each value of the label seems to have."""
    folders: bool
    """The labels are the names of the folders that the files lie in."""
    encodings: dict[str, tuple[int, float]]
    """How many files are in which encoding, and how sure that is where it is least so."""
    bad: list[str]
    """Why rows cannot be read, one reason for each file that has such."""
    bad_rows: int
    """How many of the rows that were read cannot be."""
    beginnings: list[str]
    """How some documents, or conversations, begin: a few words."""
    said: dict[str, str]
    """Columns of what a model is to say of the text, by meaning."""


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
    others = places.passed_over([str(folder)])
    looks, skipped = _looks(entries)
    columns, skipped_more = _columns(looks)
    skipped += skipped_more
    groups = _groups(entries, looks, columns, {one.uri for one in skipped})
    if not groups:
        raise DataError(
            f"{folder} holds no text that can be read:\n" + "\n".join(f"  {one.why}" for one in skipped[:5])
        )
    empty = sum(not entry["size"] for entry in entries)
    ordered = sorted(groups, key=lambda group: -group.size)
    return Survey(folder.absolute(), ordered, skipped, empty, dict(Counter(others).most_common()))


def form_of(entry: Entry) -> str:
    """A file's format; that of files of one document each is "text"."""
    form, _ = endings.split(entry["uri"]) or ("", "")
    return PLAIN if form in endings.DOCUMENTS and "index" not in entry else form


def _looks(entries: list[Entry]) -> tuple[list[Look], list[Skipped]]:
    """A look at every file, or at FILES of them, spread over all."""
    full = [entry for entry in entries if entry["size"]]
    some = full[:: -(-len(full) // FILES)] if full else []
    budget = min(MOST, max(LEAST, BUDGET // max(len(some), 1)))
    looks, skipped = [], []
    for entry in some:
        try:
            sample = samples.of(places.path_of(entry), entry["uri"], budget)
            if not any(row.values is not None for row in sample.rows):
                first = next((f", {row.position}: {row.reason}" for row in sample.rows), " holds no rows")
                raise DataError(f"{entry['uri']}{first}")
            looks.append(Look(entry, sample))
        except PermissionError as error:
            why = f"{entry['uri']}: may not be read ({error.strerror}): make it readable (chmod a+r)"
            skipped.append(Skipped(entry["uri"], form_of(entry), why))
        except DataError as error:
            skipped.append(Skipped(entry["uri"], form_of(entry), str(error)))
    return looks, skipped


def _columns(looks: list[Look]) -> tuple[dict[Layout, Chosen], list[Skipped]]:
    """The columns of each layout by the rows of all its files, and the files of which none holds text."""
    layouts: dict[Layout, list[Look]] = {}
    for look in looks:
        layouts.setdefault(look.layout, []).append(look)
    columns, skipped = {}, []
    for layout, found in layouts.items():
        if not any(look.chosen for look in found):
            titled = layout[0] in (*endings.MAIL, endings.DICTIONARY)
            columns[layout] = Chosen(None, None, "title" if titled else None)
            continue
        most = max(1, ROWS // len(found))
        chosen = fields.choose([row for look in found for row in look.chosen[:: -(-len(look.chosen) // most)]])
        if chosen.text is None and chosen.messages is None:
            there = ", ".join(map(repr, layout[1]))
            why = f"no column holds text in most rows; there are {there}: is it split by another sign?"
            skipped += [Skipped(one.entry["uri"], layout[0], f"{one.entry['uri']}: {why}") for one in found]
        else:
            columns[layout] = chosen
    return columns, skipped


def _groups(
    entries: list[Entry], looks: list[Look], columns: dict[Layout, Chosen], unreadable: set[str]
) -> list[Group]:
    seen = {look.entry["uri"]: look for look in looks if look.layout in columns}
    usual: dict[str, Chosen] = {}
    for look in seen.values():
        usual.setdefault(form_of(look.entry), columns[look.layout])
    dealt: dict[tuple[str, str | None, str | Turns | None], list[Entry]] = {}
    for entry in entries:
        found = seen.get(entry["uri"])
        chosen = columns[found.layout] if found else usual.get(form_of(entry))
        if chosen is not None and entry["uri"] not in unreadable:
            dealt.setdefault((form_of(entry), chosen.text, chosen.messages), []).append(entry)
    made = []
    for (form, text, messages), held in dealt.items():
        found_in = [seen[entry["uri"]] for entry in held if entry["uri"] in seen]
        title = next((columns[look.layout].title for look in found_in if columns[look.layout].title), None)
        made.append(_group(form, Chosen(text, messages, title), held, found_in))
    return made


def _group(form: str, chosen: Chosen, entries: list[Entry], looks: list[Look]) -> Group:
    there, opened = sum(entry["size"] for entry in entries), sum(look.entry["size"] for look in looks)
    scale = there / max(opened, 1)
    rows = sum(look.sample.count for look in looks)
    documents = sum(entry["size"] > 0 for entry in entries) if form in (PLAIN, ".eml") else round(rows * scale)
    said = fields.said_of([row for look in looks for row in look.chosen][:ROWS], chosen)
    label, seen = _label(looks, chosen, set(said.values()))
    folders = {} if label or form not in (PLAIN, ".eml") else _folders(entries)
    wrong = [_wrong(look, chosen, label) for look in looks]
    encodings = _encodings([look.sample.charset for look in looks])
    encoding = next(iter(encodings)) if len(encodings) == 1 else AUTO
    return Group(
        (form, encoding, chosen.text, label, chosen.messages), entries, looks, chosen.title,
        round(sum(look.sample.size for look in looks) * scale), documents,
        len(looks) == len(entries) and all(look.sample.count == int(look.sample.count) for look in looks),
        folders or {value: round(count * scale) for value, count in seen.items()}, bool(folders), encodings,
        [first for first, _ in wrong if first], sum(count for _, count in wrong), _beginnings(looks, chosen),
        said,
    )  # fmt: skip


def _label(looks: list[Look], chosen: Chosen, others: set[str]) -> tuple[str | None, dict[str, float]]:
    """The column of a label, none of the `others`, by the rows of all files, and how many documents each value seems to
    have."""
    rows = sum(len(look.values) for look in looks)
    seen: dict[str, Counter[str]] = {}
    scaled: dict[str, dict[str, float]] = {}
    for look in looks:
        each = look.sample.count / max(len(look.values), 1)
        for path, values in fields.labels(look.chosen).items():
            seen.setdefault(path, Counter()).update(values)
            into = scaled.setdefault(path, {})
            for value, count in values.items():
                into[value] = into.get(value, 0) + count * each
    taken = {chosen.text, chosen.title, *fields.conversing(chosen), *others}
    label = next((path for path in seen if path not in taken and fields.is_label(seen[path], rows)), None)
    return label, {value: count for value, count in sorted(scaled[label].items()) if value} if label else {}


def _folders(entries: list[Entry]) -> dict[str, int]:
    """How many files each folder holds, if folders seem to be classes: all files in a few folders of one depth."""
    paths = [PurePosixPath(entry["name"]).parent for entry in entries if entry["size"]]
    depths = {len(path.parts) for path in paths}
    found = Counter(path.name for path in paths)
    few = 2 <= len(found) <= fields.MOST_LABELS and min(found.values()) >= FEWEST_FILES
    return dict(sorted(found.items())) if few and len(depths) == 1 and not set(found) <= SPLITS else {}


def _encodings(found: list[Charset]) -> dict[str, tuple[int, float]]:
    counts = Counter(charset.name for charset in found).most_common()
    return {
        name: (count, min(charset.confidence for charset in found if charset.name == name)) for name, count in counts
    }


def _wrong(look: Look, chosen: Chosen, label: str | None) -> tuple[str, int]:
    """(why the first of the unreadable rows cannot be read, how many cannot)."""
    wrong, why = [], None
    named = [name for name in (chosen.text or "text", label) if name]
    for row in look.sample.rows:
        if row.values is None:
            wrong.append(f"{row.position}: {row.reason}")
        elif row.given:
            wrong += [f"{row.position}: its text {why}"] if (why := unfit(row.values.get("text", ""))) else []
        elif chosen.text and chosen.text not in fields.flattened(row.values):
            wrong.append(f"{row.position}: its field {chosen.text!r} holds no text")
        elif chosen.messages and fields.first_said(row.values, chosen.messages) is None:
            wrong.append(f"{row.position}: {' and '.join(map(repr, fields.conversing(chosen)))} hold no conversation")
        elif any(why := unfit(held.get(name, "")) for held in [fields.flattened(row.values)] for name in named):
            wrong.append(f"{row.position}: a field {why}")
    return (f"{look.entry['uri']}, {wrong[0]}" if wrong else ""), len(wrong)


def _beginnings(looks: list[Look], chosen: Chosen) -> list[str]:
    """How a document begins, of each of some files and rows spread over all."""
    spread = looks[:: max(1, len(looks) // 20)]
    found = []
    for look in spread:
        rows = [row for row in look.sample.rows if row.values is not None]
        found += [_beginning(row, chosen) for row in rows[:: max(1, len(rows) // 5)]]
    return list(dict.fromkeys(one for one in found if one))


def _beginning(row: Row, chosen: Chosen) -> str:
    """What is said first in a row's conversation, or how its text begins, in a few words."""
    values = row.values or {}
    if chosen.messages and not row.given:
        said = fields.first_said(values, chosen.messages)
        return beginning(said, QUESTIONS) if said and not unfit(said) else ""
    text = fields.flattened(values).get((not row.given and chosen.text) or "text", "")[:1_000]
    return "" if unfit(text) else beginning(text, STARTS)
