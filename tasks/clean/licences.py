"""Whether a licence, as a document names it, is among those that are allowed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase

UNKNOWN = "unknown"
"""The licence of a document that names none."""
_YES, _NO = "\1", "\0"
"""Stand in for what was in parentheses."""


def allowed(licence: str, patterns: Sequence[str]) -> bool:
    """Of "A AND B" and "A, B" each must fit a pattern, of "A OR B" one, as SPDX expressions mean it.

    Upper and lower case are the same. * in a pattern stands for any characters of one licence of an expression, so that
    MIT* does not allow "MIT AND GPL-3.0"; a pattern without it may also be the whole text, commas and all.
    """
    if any(licence.lower() == pattern.lower() for pattern in patterns):
        return True
    text = licence
    while inner := re.search(r"\(([^()]*)\)", text):
        text = text[: inner.start()] + (_YES if _holds(inner[1], patterns) else _NO) + text[inner.end() :]
    return _holds(text, patterns)


def matches(licence: str, pattern: str) -> bool:
    """Whether a pattern has to do with a licence: it is the whole or fits one of an expression."""
    names = re.split(r"\s+(?:AND|OR)\s+|[,()]", licence)
    return licence.lower() == pattern.lower() or any(_fits(name, pattern) for name in names)


def _holds(flat: str, patterns: Sequence[str]) -> bool:
    """An expression without parentheses: AND binds more tightly than OR."""
    return any(
        all(_allows(name.strip(), patterns) for name in re.split(r"\s+AND\s+|,", way))
        for way in re.split(r"\s+OR\s+", flat)
    )


def _allows(name: str, patterns: Sequence[str]) -> bool:
    return name == _YES or (name != _NO and any(_fits(name, pattern) for pattern in patterns))


def _fits(name: str, pattern: str) -> bool:
    return fnmatchcase(name.strip().lower(), pattern.lower())
