"""Rows as documents: the columns of text, label and conversation, and what is unfit set aside.

A document's uri is FILE, FILE#PLACE or FILE!INSIDE#PLACE: the entry's name, what in it was read (a member of an
archive, a page of a web archive), and where: line, row, key, or byte at which a record begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from conf.schema.data import RowSource
from tasks.collect import formats
from tasks.collect.chitchat import as_text
from tasks.collect.documents import Documents
from tasks.collect.formats import Row, kind_of
from tasks.core.errors import DataError
from tasks.text import roles


def add(row: Row, entry: dict[str, Any], conf: RowSource, documents: Documents) -> None:
    """Add one row's document, or set the row aside.

    Raises `DataError` for a text beyond `conf.max_document_mb`, and when more than `conf.max_bad_rows` rows of the
    shard are unreadable.
    """
    _add(row, entry, conf, documents)
    _check_bad_rows(entry["uri"], conf, documents)


def _add(row: Row, entry: dict[str, Any], conf: RowSource, documents: Documents) -> None:
    if row.values is None:
        documents.set_aside(entry["uri"], row.position, row.reason)
        return
    whole = row.position == "file" or bool(row.address)
    inside = f"!{row.address}" if row.address else ""
    place = "" if row.position == "file" else f"#{row.position.partition(' ')[2]}"
    messages = None
    try:
        if conf.messages and not whole:
            messages = _conversation(row.values, conf.messages, conf.roles, documents.source)
        text = as_text(messages) if messages else _text(row.values, "text" if whole else conf.text, documents.source)
        label = _label(row.values, conf.label)
    except ValueError as error:
        documents.set_aside(entry["uri"], row.position, str(error))
        return
    if len(text) > conf.max_document_mb * 1_000_000:
        raise DataError(formats.too_large(f"{entry['uri']}, {row.position}", conf.max_document_mb * 1_000_000))
    documents.add(text, entry["name"] + inside + place, conf.licence, label, messages)


def _text(values: dict[str, Any], field: str, source: str) -> str:
    if field not in values:
        there = ", ".join(map(repr, values)) or "none"
        talk = next((name for name, value in values.items() if roles.is_conversation(value)), None)
        option = f"messages={talk}, it is a conversation" if talk else "text=FIELD"
        raise ValueError(f"has no field {field!r}; there are {there}: give data.sources.{source}.{option}")
    value = values[field]
    if not isinstance(value, str):
        raise ValueError(f"its field {field!r} holds {kind_of(value)} where text should be")
    return value


def _label(values: dict[str, Any], field: str | None) -> str | None:
    value = values.get(field) if field else None
    if isinstance(value, (list, dict, float)):
        raise ValueError(f"its field {field!r} holds {kind_of(value)} where a label should be")
    return None if value is None or value == "" else str(value)


def _conversation(values: dict[str, Any], field: str, more: Mapping[str, str], source: str) -> list[dict[str, str]]:
    found = values.get(field)
    if not isinstance(found, list) or not found:
        raise ValueError(f"its field {field!r} holds {kind_of(found)} where a list of messages should be")
    turns = [turn for message in found if (turn := roles.turn(message))]
    if len(turns) < len(found):
        raise ValueError(
            f"its field {field!r} holds a message that is no {{role, content}} or {{from, value}} of texts"
        )
    try:
        return [{"role": roles.role(who, more), "content": said} for who, said in turns]
    except ValueError as error:
        raise ValueError(f"{error}: say who that is by data.sources.{source}.roles={{NAME: ROLE}}") from None


def _check_bad_rows(name: str, conf: RowSource, documents: Documents) -> None:
    bad = documents.counts["unreadable"]
    if bad > conf.max_bad_rows:
        first, last = documents.first_unreadable, "" if name in documents.first_unreadable else f", the last in {name}"
        raise DataError(
            f"{first} ({bad} unreadable{last}; max_bad_rows of the source allows {conf.max_bad_rows}: mend the file, "
            "or raise it to set such rows aside)"
        )
