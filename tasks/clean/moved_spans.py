"""Spans of a text that was cleaned: where they are now."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import Any


def moved(spans: Sequence[list[Any]], before: str, after: str) -> list[list[Any]]:
    """[begin, end, label] of `before` as they are in `after`; of what was replaced, as by a placeholder, all that
    stands there now. A span of which nothing is left is left out."""
    head = _shared(before, after)
    tail = _shared(before[head:][::-1], after[head:][::-1])
    middle = before[head : len(before) - tail], after[head : len(after) - tail]
    changes = [
        (first + head, last + head, begin + head, end + head, change == "equal")
        for change, first, last, begin, end in SequenceMatcher(None, *middle, autojunk=False).get_opcodes()
    ]
    changes = [
        (0, head, 0, head, True),
        *changes,
        (len(before) - tail, len(before), len(after) - tail, len(after), True),
    ]

    def place(at: int, end: bool) -> int:
        """Of the place of a span's first letter, or of its last one and then one more."""
        first, _, begin, stop, equal = next(one for one in changes if one[0] <= at < one[1])
        if equal:
            return begin + at - first + end
        return stop if end else begin

    found = ([place(begin, False), place(end - 1, True), label] for begin, end, label in spans)
    return [one for one in found if one[0] < one[1]]


def _shared(one: str, other: str) -> int:
    """How many letters two texts have alike at their beginning."""
    shorter = min(len(one), len(other))
    return next((n for n in range(shorter) if one[n] != other[n]), shorter)
