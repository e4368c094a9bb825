"""What a step tells while it runs, as data: how far it is, what came out, what it warns of.

A body tells an `Event`, from whatever process or thread does the work. The process that started the body reads events
and lines of text apart (`Reading`), and terminal, Prefect and MLflow show them; no line that people read is parsed.

Both come on one stream, the body's output, so that their order is kept and a place that has the output has the events.
An event is a line of its own after a mark that holds a word drawn for this one attempt: no text that a model or a
document brings can be an event. Where nobody listens (a notebook, a test) what is said loudly is printed.
"""

from __future__ import annotations

import json
import math
import os
import secrets
import select
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from typing import Literal, TypeVar, get_args

from tasks.core.number_format import ahead, count

T = TypeVar("T")
Kind = Literal["progress", "result", "notice", "warning"]
"""How far a step is; what came out of it; what a person is to know of how it goes; what a person should look at."""
WORD = "FROMZERO_EVENTS"
"""The variable by which a body and all processes below it know the word of their events."""
EVERY = 1.0
"""Seconds between two times that a loop tells how far it is."""


@dataclass(frozen=True)
class Event:
    """One thing that a step tells."""

    kind: Kind = "progress"
    done: int = 0
    total: int = 0
    """Of how many units so many are done; for progress alone, as are those below but the text."""
    unit: str = ""
    """What is counted, one of it: step, batch, document."""
    rate: float | None = None
    """Units per second."""
    left: float | None = None
    """Seconds to go."""
    text: str = ""
    """A sentence; of progress, what else is worth to be seen now."""

    @property
    def share(self) -> float:
        """How much is done, 0 to 1."""
        return min(max(self.done / self.total, 0.0), 1.0) if self.total else 0.0

    @property
    def said(self) -> str:
        """In words, but for the time that is left."""
        if self.kind != "progress":
            return f"warning: {self.text}" if self.kind == "warning" else self.text
        more = self.text or (f"{count(self.rate)} {self.unit}s/s" if self.rate is not None and self.rate >= 1 else "")
        return "  ".join(part for part in (f"{self.unit} {count(self.done)}/{count(self.total)}".strip(), more) if part)

    @property
    def whole(self) -> str:
        """In words, with the time that is left."""
        return self.said if self.left is None else f"{self.said}  left {ahead(self.left)}"

    @classmethod
    def of(cls, raw: object) -> Event:
        """From JSON; raises `ValueError` or `TypeError` for what is no event."""
        if not isinstance(raw, dict):
            raise TypeError("an event is an object")
        found = cls(**raw)
        numbers = (found.done, found.total, found.rate or 0, found.left or 0)
        if found.kind not in get_args(Kind) or not all(math.isfinite(number) for number in numbers):
            raise ValueError(f"no event: {raw}")
        if not (isinstance(found.text, str) and isinstance(found.unit, str)):
            raise TypeError("words are text")
        return found


Hear = Callable[[Event], object]
_heard: ContextVar[Hear | None] = ContextVar("heard", default=None)


@contextmanager
def heard_by(hear: Hear) -> Iterator[None]:
    """Let `hear` have what is told inside, in this process."""
    token = _heard.set(hear)
    try:
        yield
    finally:
        _heard.reset(token)


def listened_to() -> bool:
    """Whether somebody hears what is told here."""
    return _heard.get() is not None or bool(os.environ.get(WORD))


def tell(event: Event) -> None:
    """Tell an event to whoever listens. Of several processes one does it for all. Never ends a step."""
    hear, word = _heard.get(), os.environ.get(WORD)
    if hear is not None:
        hear(event)
    elif word:
        with suppress(OSError, ValueError, AttributeError):
            sys.stdout.flush()
            os.write(1, _line(event, word))  # in one piece, whatever other processes write to the same pipe
    elif event.kind != "progress":
        print(event.said, flush=True)


def result(text: str) -> None:
    """Tell what came out."""
    tell(Event("result", text=text))


def notice(text: str) -> None:
    """Tell how it goes, where a person is to know."""
    tell(Event("notice", text=text))


def warn(text: str) -> None:
    """Tell what a person should look at."""
    tell(Event("warning", text=text))


class Progress:
    """Tells now and then how far a loop is, and at its end."""

    def __init__(self, total: int, unit: str, done: int = 0) -> None:
        """`done` of the `total` were done before this process began: they are no part of the rate."""
        self.total, self.unit, self.done = total, unit, done
        self._first, self._began = done, time.monotonic()
        self._told = self._began

    def add(self, number: int = 1) -> None:
        """So many more are done."""
        self.done += number
        now = time.monotonic()
        if now - self._told >= EVERY or (number and self.done >= self.total):
            self._told = now
            tell(self.event())

    def event(self, text: str = "") -> Event:
        """How far it is now."""
        passed = max(time.monotonic() - self._began, 1e-9)
        rate = (self.done - self._first) / passed
        left = (self.total - self.done) / rate if rate else None
        return Event("progress", self.done, self.total, self.unit, rate, left, text)


def counted(items: Iterable[T], total: int, unit: str, size: Callable[[T], int] = lambda item: 1) -> Iterator[T]:
    """The items, each counted as `size` units of the total once the next one is asked for."""
    progress = Progress(total, unit)
    for item in items:
        yield item
        progress.add(size(item))


class Reading:
    """Reads lines of a body's output: text for people, and events of the word that was drawn for it."""

    def __init__(self, word: str) -> None:
        self._mark = _mark(word)

    def of(self, line: bytes) -> tuple[bytes, Event | None]:
        """The text of a line, if it holds any, and the event in it, if there is one: whoever wrote without ending the
        line may come before."""
        text, mark, data = line.partition(self._mark)
        if not mark:
            return line, None
        try:
            return text, Event.of(json.loads(data))
        except (ValueError, TypeError):
            return text + data, None


def word() -> str:
    """A word that nobody can guess."""
    return secrets.token_hex(16)


def _mark(chosen: str) -> bytes:
    return f"\x1e{chosen} ".encode()


def _line(event: Event, chosen: str) -> bytes:
    """At most as long as a pipe takes in one piece; a longer text is cut."""
    told, text = asdict(event), event.text
    while len(made := _mark(chosen) + json.dumps(told).encode() + b"\n") > select.PIPE_BUF:
        text = text[: len(text) * 3 // 4]
        told["text"] = text + "…"
    return made
