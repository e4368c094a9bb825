"""Rows as documents: the columns of text, label and conversation, and what is unfit set aside.

A document's uri is FILE, FILE#PLACE or FILE!INSIDE#PLACE: the entry's name, what in it was read (a member of an
archive, a page of a web archive), and where: line, row, key, or byte at which a record begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from conf.schema.source import ReadSource, RowSource
from tasks.collect import text_formats
from tasks.collect.document_writer import Documents
from tasks.collect.text_formats import Row, kind_of
from tasks.text import roles, targets


def add(row: Row, entry: dict[str, Any], conf: RowSource, documents: Documents) -> None:
    """Add one row's document, or set the row aside; whether so many may be is asked in the end (`Documents.finish`)."""
    if row.values is None:
        documents.set_aside(entry["uri"], row.position, row.reason, readable=bool(row.beyond), option=row.option)
        documents.beyond[row.beyond, row.option] += bool(row.beyond)
        return
    inside = f"!{row.address}" if row.address else ""
    place = "" if row.position == "file" else f"#{row.position.partition(' ')[2]}"
    messages = None
    try:
        if conf.messages and not row.given:
            messages = _conversation(row.values, conf.messages, conf.roles, documents.source)
        elif conf.turns and not row.given:
            messages = _turns(row.values, conf.turns, conf.roles, documents.source)
        said = _targets(row.values, conf)
        if messages and "chosen" in said:
            messages.append({"role": "assistant", "content": said.pop("chosen")})
        text = as_text(messages) if messages else _text(row, conf, documents.source)
        label = _label(row.values, conf.label) or _folder(entry, conf)
        if beyond := next((span for span in said.get("spans", ()) if span[1] > len(text)), None):
            raise ValueError(f"has a span to character {beyond[1]} of a text of {len(text)}")
    except ValueError as error:
        documents.set_aside(entry["uri"], row.position, str(error), option=text_formats.COLUMN)
        return
    if len(text) > (limit := conf.max_document_mb * 1_000_000):
        reason = f"holds {text_formats.beyond(limit)}"
        documents.set_aside(entry["uri"], row.position, reason, option=text_formats.SIZE)
        return
    if row.attachments:
        documents.counts["attachments"] = documents.counts.get("attachments", 0) + row.attachments
    where = (entry["uri"], row.position)
    documents.add(text, entry["name"] + inside + place, conf.licence, label, messages, where, said)


def value_of(values: Mapping[str, Any], field: str) -> Any:
    """What a row holds under a field, or under the path a.b; of a list in between, what each of it holds.

    Raises `KeyError` if it holds no such field.
    """
    if field in values:
        return values[field]
    first, _, rest = field.partition(".")
    if not rest:
        raise KeyError(field)
    inner = values[first]
    if isinstance(inner, list):
        return [value_of(one, rest) for one in inner if isinstance(one, dict)]
    if not isinstance(inner, dict):
        raise KeyError(field)
    return value_of(inner, rest)


def as_one_text(value: Any) -> str | None:
    """A text, or texts of a list joined by blank lines; None for what is no text."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value:
        parts = [as_one_text(one) for one in value]
        return None if None in parts else "\n\n".join(part for part in parts if part)
    return None


def _text(row: Row, conf: RowSource, source: str) -> str:
    values, field = row.values or {}, "text" if row.given else conf.text
    try:
        value = value_of(values, field)
    except KeyError:
        there = text_formats.listed(values) or "none"
        talk = next((name for name, value in values.items() if roles.is_conversation(value)), None)
        option = f"messages={talk}, it is a conversation" if talk else "text=FIELD"
        raise ValueError(f"has no field {field!r}; there are {there}: give data.sources.{source}.{option}") from None
    tagged = "tags" in conf.columns
    if tagged and not (isinstance(value, list) and all(isinstance(one, str) and one for one in value)):
        raise ValueError(
            f"its field {field!r} holds {kind_of(value)} where a list of tokens should be, which have tags"
        )
    text = " ".join(value) if tagged else as_one_text(value)
    if text is None:
        raise ValueError(f"its field {field!r} holds {kind_of(value)} where text should be")
    title = _optional(values, conf.title) if conf.title else None
    if title is not None and not isinstance(title, str):
        raise ValueError(f"its field {conf.title!r} holds {kind_of(title)} where a title should be")
    if title and title.strip() and not text.lstrip().startswith(title.strip()):
        return f"{title.strip()}\n\n{text}"
    return text


def _targets(values: Mapping[str, Any], conf: RowSource) -> dict[str, Any]:
    """What a model is to say of a row's text, of what there is."""
    found: dict[str, Any] = {}
    for meaning, field in conf.columns.items():
        if (value := _optional(values, field)) in (None, ""):
            continue
        try:
            if meaning == "tags":
                tokens = _optional(values, conf.text)  # what is no list of tokens is told of where the text is read
                found["spans"] = targets.of_tags(tokens, value) if isinstance(tokens, list) else []
            else:
                found[meaning] = targets.CHECKS[meaning](value)
        except ValueError as error:
            raise ValueError(f"its field {field!r} {error}") from None
    return found


def _optional(values: Mapping[str, Any], field: str) -> Any:
    try:
        return value_of(values, field)
    except KeyError:
        return None


def _folder(entry: dict[str, Any], conf: RowSource) -> str | None:
    """The name of the folder that a file lies in, below where its source's paths begin."""
    if not isinstance(conf, ReadSource) or conf.label_from != "folder":
        return None
    return PurePosixPath(entry["name"].rpartition("!")[2]).parent.name or None


def _label(values: dict[str, Any], field: str | None) -> str | None:
    value = _optional(values, field) if field else None
    if isinstance(value, (list, dict, float)):
        raise ValueError(f"its field {field!r} holds {kind_of(value)} where a label should be")
    return None if value is None or value == "" else str(value)


def _conversation(values: dict[str, Any], field: str, more: Mapping[str, str], source: str) -> list[dict[str, str]]:
    found = _optional(values, field)
    if not isinstance(found, list) or not found:
        raise ValueError(f"its field {field!r} holds {kind_of(found)} where a list of messages should be")
    turns = [turn for message in found if (turn := roles.turn(message))]
    if len(turns) < len(found):
        raise ValueError(
            f"its field {field!r} holds a message that is no {{role, content}} or {{from, value}} of texts"
        )
    return [{"role": _role(who, more, source), "content": said} for who, said in turns]


def _turns(
    values: dict[str, Any], columns: Mapping[str, tuple[str, ...]], more: Mapping[str, str], source: str
) -> list[dict[str, str]]:
    found = []
    for who, names in columns.items():
        given = {name: value for name in names if (value := _optional(values, name)) not in (None, "")}
        for name, value in given.items():
            if not isinstance(value, str):
                raise ValueError(f"its field {name!r} holds {kind_of(value)} where text should be")
        if not given and who == "assistant":
            there = text_formats.listed(values) or "none"
            raise ValueError(f"has no answer in {' and '.join(map(repr, names))}; there are {there}: see "
                             f"data.sources.{source}.turns")  # fmt: skip
        if given:
            found.append({"role": _role(who, more, source), "content": "\n\n".join(given.values())})
    return found


def _role(who: str, more: Mapping[str, str], source: str) -> str:
    try:
        return roles.role(who, more)
    except ValueError as error:
        raise ValueError(f"{error}: say who that is by data.sources.{source}.roles={{NAME: ROLE}}") from None


def as_text(messages: list[dict[str, str]]) -> str:
    """A conversation as plain text: "role: content" lines."""
    return "\n".join(f"{message['role']}: {message['content']}" for message in messages)
