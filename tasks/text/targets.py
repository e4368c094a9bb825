"""What a model is to say of a text, beside its label: one JSON object a document, by what each part of it means."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from conf.schema.source import Meaning
from tasks.text import roles

Targets = Mapping[str, Any]
"""number: a float; labels: names in order of the alphabet; spans: [begin, end, label], in characters of the text, in
its order; target: a text; rejected: the answer that is worse than the conversation's last one."""
PREFIX = re.compile(r"([BIESLU])[-_](.+)|O")
"""A token's tag: where in a span it stands (IOB2, BIOES or BILOU), and the span's label; O for outside."""


def number(value: Any) -> float:
    """A finite number."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"holds {_short(value)} where a number should be")
    try:
        found = float(value)
    except ValueError:
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"holds {_short(value)} where a number should be")
    return found


def labels(value: Any) -> list[str]:
    """Names, each once, none included: of a list, or of a text in which commas, semicolons or bars stand between."""
    if isinstance(value, str) and not value.strip().startswith("["):
        value = re.split(r"[,;|]", value)
    value = _list(value, "labels")
    if not all(isinstance(one, (str, int)) for one in value):
        raise ValueError(f"holds {_short(value)} where a list of labels should be")
    return sorted({str(one).strip() for one in value} - {""})


def spans(value: Any) -> list[list[Any]]:
    """Parts of a text: [begin, end, label] or {start, end, label} each, in characters, the end not included."""
    value = _list(value, "spans")
    found = []
    for one in value:
        span = _span(one)
        if span is None or not 0 <= span[0] < span[1]:
            raise ValueError(f"holds {_short(one)} where {{start, end, label}} should be, start before end")
        found.append(span)
    return sorted(found)


def _span(value: Any) -> list[Any] | None:
    if isinstance(value, Mapping):
        label = next(
            (value[name] for name in ("label", "entity_group", "entity", "type", "tag") if name in value), None
        )
        value = [value.get("start", value.get("begin")), value.get("end", value.get("stop")), label]
    fits = isinstance(value, list) and len(value) == 3 and all(type(one) is int for one in value[:2])
    return [*value[:2], str(value[2])] if fits and isinstance(value[2], str) and value[2] else None


def of_tags(tokens: Sequence[str], tags: Any) -> list[list[Any]]:
    """The spans of a text that is `tokens` with blanks between, by a tag for each token."""
    if not isinstance(tags, list) or len(tags) != len(tokens):
        there = len(tags) if isinstance(tags, list) else _short(tags)
        raise ValueError(f"holds {there} tags for {len(tokens)} tokens")
    found: list[list[Any]] = []
    at, inside = 0, ""
    for token, tag in zip(tokens, tags, strict=True):
        known = PREFIX.fullmatch(tag) if isinstance(tag, str) else None
        if known is None:
            raise ValueError(f"holds the tag {_short(tag)}: tags are O, B-LABEL and I-LABEL (or E, S, L, U)")
        place, label = known.groups()
        if label and (place in "BSU" or label != inside):
            found.append([at, at + len(token), label])
        elif label:
            found[-1][1] = at + len(token)
        inside = label if label and place in "BI" else ""
        at += len(token) + 1
    return found


def text(value: Any) -> str:
    """A text that says something."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"holds {_short(value)} where text should be")
    return value


def answer(value: Any) -> str:
    """An answer: a text, a message of the assistant, or the last turn of a conversation."""
    given = value[-1] if roles.is_conversation(value) else value
    if turn := roles.turn(given):
        who, given = turn
        if roles.ROLES.get(who.strip().lower()) != "assistant":
            raise ValueError(f"ends with the turn of {who!r} where an answer should be")
    return text(given)


CHECKS: dict[Meaning, Callable[[Any], Any]] = {
    "number": number, "labels": labels, "spans": spans, "target": text, "chosen": answer, "rejected": answer,
}  # fmt: skip
"""For each meaning of a column what it holds: raises `ValueError`, in words that follow the column's name."""
TEXTS: tuple[Meaning, ...] = ("target", "rejected")
"""Those that are texts, and are cleaned as texts are."""


def write(targets: Targets) -> str:
    """As documents keep it: the same for the same targets."""
    return json.dumps(targets, sort_keys=True, ensure_ascii=False, allow_nan=False)


def read(stored: str | None) -> dict[str, Any]:
    """What `write` wrote; empty for a document without."""
    return json.loads(stored) if stored else {}


def _list(value: Any, what: str) -> list[Any]:
    """A list, also one that is written as JSON."""
    found = value
    if isinstance(value, str):
        try:
            found = json.loads(value)
        except ValueError:
            found = None
    if not isinstance(found, list):
        raise ValueError(f"holds {_short(value)} where a list of {what} should be")
    return found


def _short(value: Any) -> str:
    said = "nothing" if value is None else repr(value)
    return said if len(said) <= 40 else f"{said[:40]}…"
