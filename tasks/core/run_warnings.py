"""What a run warns of: one record, which the terminal, Prefect's pages, the report and `--json` all show.

A step warns in one of two ways, and nothing else is needed for it to be shown everywhere, in cached runs too:

- of what it found while it ran, in its statistics: `return {..., "warnings": [warning(text, option)]}`;
- of what its inputs' statistics and its options foretell, by `@step(warns=...)`: `warns(inputs…, conf)` gives such a
  list. It is asked in the run's own process for every call, hit or not, and in plans, so that it must be light; an
  input may be a `Pending`, whose statistics are not known yet. What it reads of `conf` need not be in the key.

A warning never stops a run; what has to raises one of `tasks.core.errors`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from tasks.core import events
from tasks.core.step import labelled


@dataclass(frozen=True)
class Warned:
    """One warning of a run."""

    step: str
    shard: str | None
    text: str
    """What is the matter and where, with its figures, in a sentence."""
    option: str = ""
    """The options that change it, in a phrase; empty where the text says so."""

    @property
    def said(self) -> str:
        """The text and, in brackets, the options."""
        return f"{self.text} ({self.option})" if self.option else self.text

    def __str__(self) -> str:
        return f"{labelled(self.step, self.shard)}: {self.said}"


class Called(Protocol):
    """A call of a step, in a run or in its plan."""

    step: str
    shard: str | None
    warnings: list[dict[str, str]]
    """What the step's `warns` foretold."""


def warning(text: str, option: str = "") -> dict[str, str]:
    """A warning as a step's statistics and `warns` hold it."""
    return {"text": text, "option": option}


def told(text: str, option: str = "") -> dict[str, str]:
    """The same, told, for the log of the step that is running and for the terminal."""
    found = warning(text, option)
    events.warn(in_stats("", None, {"warnings": [found]})[0].said)
    return found


def in_stats(step: str, shard: str | None, stats: Mapping[str, Any]) -> list[Warned]:
    """The warnings in a step's statistics; those of expectations are texts that say themselves how to fix it."""
    return [
        Warned(step, shard, one) if isinstance(one, str) else Warned(step, shard, one["text"], one.get("option", ""))
        for one in stats.get("warnings", ())
    ]


def of(calls: Iterable[Called]) -> list[Warned]:
    """All warnings of a run, or of a plan, in its order; what several calls of a step say alike is there once."""
    found: dict[tuple[str, str], Warned] = {}
    for call in calls:
        stats = {"warnings": [*call.warnings, *getattr(call, "stats", {}).get("warnings", ())]}
        for one in in_stats(call.step, call.shard, stats):
            found.setdefault((one.step, one.said), one)
    return list(found.values())
