"""Which fields of rows hold the text, a title, a label and conversations: by what they hold, not by names alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from conf.schema.source import Meaning
from tasks.collect.document_writer import unfit
from tasks.collect.rows import as_one_text, value_of
from tasks.text import roles, targets

TEXT_NAMES = ("text", "content", "body", "document", "article", "markdown", "message", "description", "completion")
TITLE_NAMES = ("title", "headline", "subject", "heading", "name")
LABEL_NAMES = ("label", "category", "class", "topic", "section", "tag", "target", "sentiment")
MOST_LABELS, FEWEST_ROWS = 50, 20
NAMED = 4
"""How many times better a field is for being named like a text."""
DEEP = 3
"""Fields in fields that are looked at."""
MOST = 0.8
"""Share of the rows that a field has to fit."""


Turns = tuple[tuple[str, tuple[str, ...]], ...]
"""The columns of each role's turn, of rows that are a question and its answer."""
ASKED = (("instruction", "input"), ("instruction", "context"), ("instruction",), ("prompt",), ("query",),
         ("question",))  # fmt: skip
"""Columns of a question, as Alpaca, Dolly and the like call them."""
ANSWERED = ("output", "response", "completion", "answer", "chosen")
SYSTEM = ("system", "system_prompt")
NUMBERS = ("stars", "rating", "score", "price", "grade", "points")
OTHERS = ("summary", "highlights", "abstract", "translation", "target", "translated")
"""Columns of a number, and of another text, as they are called."""


@dataclass(frozen=True)
class Chosen:
    """The fields of one layout of rows."""

    text: str | None
    messages: str | Turns | None
    title: str | None


def choose(rows: list[dict[str, Any]]) -> Chosen:
    """The fields of rows that lie together; without text and messages if none fits."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    talks = [name for name in names if not name.lower().startswith("rejected")]
    messages = next((name for name in talks if _share(rows, name, roles.is_conversation) >= MOST), None)
    if messages:
        return Chosen(None, messages, None)
    if turns := _turns(rows):
        return Chosen(None, turns, None)
    flat = [flattened(row) for row in rows]
    paths = dict.fromkeys(path for row in flat for path in row)
    texts = {path: [row[path] for row in flat if path in row] for path in paths}
    worth = {path: _worth(path, held) for path, held in texts.items() if len(held) >= MOST * len(rows)}
    text = max(worth, key=lambda path: worth[path], default=None)
    titles = [path for path in worth if path != text and path.lower().endswith(TITLE_NAMES) and worth[path] > 0]
    return Chosen(text, None, max(titles, key=lambda path: worth[path], default=None))


def _turns(rows: list[dict[str, Any]]) -> Turns | None:
    """Where a question and its answer stand in each row, by the names that such columns have."""
    names = {name.lower(): name for row in rows for name in row}

    def held(name: str, least: float = MOST) -> bool:
        column = names.get(name)
        return column is not None and _share(rows, column, lambda value: isinstance(value, str) and value) >= least

    asked = next((found for found in ASKED if held(found[0]) and all(name in names for name in found)), None)
    answer = next((name for name in ANSWERED if held(name)), None)
    if asked is None or answer is None:
        return None
    system = next((name for name in SYSTEM if held(name, 0.01)), None)
    first = (("system", (names[system],)),) if system else ()
    return (*first, ("user", tuple(names[name] for name in asked)), ("assistant", (names[answer],)))


def said_of(rows: list[dict[str, Any]], chosen: Chosen) -> dict[str, str]:
    """What columns say a model is to say of the texts, by meaning (`columns` of a source): tags and spans by what they
    hold, the others by their names too."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    taken = {chosen.text, chosen.title, *conversing(chosen)}
    found: dict[str, str] = {}

    def look(meaning: Meaning, fits: Callable[[str], bool], check: Callable[[Any], Any] | None = None) -> None:
        held = check or targets.CHECKS[meaning]
        for name in names:
            free = meaning not in found and name not in {*taken, *found.values()}
            if free and fits(name.lower()):
                values = [row[name] for row in rows if row.get(name) not in (None, "")]
                if len(values) >= MOST * len(rows) and all(map(partial(_holds, held), values)):
                    found[meaning] = name

    if chosen.messages:
        look("rejected", lambda name: name.startswith("rejected"))
        if "rejected" in found:
            look("chosen", lambda name: name.startswith("chosen"))
        return found
    tagged = [row[chosen.text] for row in rows if chosen.text in row] if chosen.text else []
    if tagged and all(isinstance(one, list) for one in tagged):
        sizes = {id(row.get(name)): len(row[chosen.text]) for row in rows for name in row if chosen.text in row}
        look("tags", lambda _: True, lambda value: targets.of_tags(["a"] * sizes[id(value)], value))
    look("spans", lambda name: any(part in name for part in ("span", "entit", "label", "ner")))
    look("number", lambda name: name.endswith(NUMBERS))
    look("target", lambda name: name.endswith(OTHERS))
    look("labels", lambda name: name.endswith(("labels", "tags", "categories", "topics")), _several)
    return found


def _several(value: Any) -> None:
    """Raise `ValueError` for what is no list of short names."""
    if not isinstance(value, list) or not all(isinstance(one, str) and len(one) <= 100 for one in value):
        raise ValueError("no labels")


def _holds(check: Callable[[Any], Any], value: Any) -> bool:
    try:
        check(value)
    except (ValueError, KeyError):
        return False
    return True


def conversing(chosen: Chosen) -> list[str]:
    """The columns of the conversation."""
    if chosen.messages is None or isinstance(chosen.messages, str):
        return [chosen.messages] if chosen.messages else []
    return [name for _, names in chosen.messages for name in names]


def first_said(values: Mapping[str, Any], messages: str | Turns) -> str | None:
    """What is asked first in a row's conversation; None for a row that has none."""
    if isinstance(messages, str):
        said = values.get(messages)
        turn = roles.turn(said[0]) if isinstance(said, list) and roles.is_conversation(said) else None
        return turn[1] if turn else None
    columns = dict(messages)
    asked = [values.get(name) for name in columns["user"]]
    answered = values.get(columns["assistant"][0])
    return "\n\n".join(text for text in asked if isinstance(text, str) and text) or None if answered else None


def flattened(row: Mapping[str, Any], deep: int = DEEP) -> dict[str, str]:
    """The texts of a row by the paths that a source names them by."""
    found: dict[str, str] = {}
    for name, value in row.items():
        if (text := as_one_text(value)) is not None:
            found[name] = text
        inner = value[0] if isinstance(value, list) and value else value
        if isinstance(inner, dict) and deep > 1:
            for path in flattened(inner, deep - 1):
                text = as_one_text(_at(row, f"{name}.{path}"))
                found.update({f"{name}.{path}": text} if text is not None else {})
    return found


def _at(row: Mapping[str, Any], path: str) -> Any:
    try:
        return value_of(row, path)
    except KeyError:
        return None


def _worth(path: str, held: list[str]) -> float:
    """How much a field looks like text: long, of letters, of several words, another one in each row."""
    told = [text for text in held if text.strip()]
    if not told:
        return 0
    some = [text[:1_000] for text in told[:200]]
    length = sum(map(len, told)) / len(held)
    letters = sum(char.isalpha() or char.isspace() for text in some for char in text) / sum(map(len, some))
    prose = sum(len(text.split()) > 1 or not text.isascii() for text in some) / len(some)
    links = sum(text.startswith(("http://", "https://", "www.", "/")) for text in some) / len(some)
    named = NAMED if path.rpartition(".")[2].lower() in TEXT_NAMES else 1
    return length * letters * (0.02 + prose) * (1.02 - links) * (len(set(told)) / len(told)) * named


def labels(rows: Iterable[dict[str, Any]]) -> dict[str, Counter[str]]:
    """How often each value is there, of the fields that are named like a label."""
    found: dict[str, Counter[str]] = {}
    for row in rows:
        paths = [name for name in row if name.lower().endswith(LABEL_NAMES)]
        paths += [
            f"{name}.{inner}" for name, value in row.items() if isinstance(value, dict)
            for inner in value if inner.lower().endswith(LABEL_NAMES)
        ]  # fmt: skip
        for path in paths:
            value = _at(row, path)
            fits = isinstance(value, (str, int)) and value != "" and len(str(value)) <= 100 and not unfit(str(value))
            found.setdefault(path, Counter())[str(value) if fits else ""] += 1
    return found


def is_label(seen: Counter[str], rows: int) -> bool:
    """A few values that come again and again, in most rows."""
    values = [value for value in seen if value]
    fit = sum(seen[value] for value in values)
    return rows >= FEWEST_ROWS and fit >= MOST * rows and 2 <= len(values) <= min(MOST_LABELS, rows // 4)


def _share(rows: list[dict[str, Any]], name: str, fits: Any) -> float:
    return sum(bool(fits(row.get(name))) for row in rows) / max(len(rows), 1)
