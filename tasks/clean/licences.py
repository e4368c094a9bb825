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
    return _holds("(".join(_without_parentheses(licence, patterns)), patterns)


def matches(licence: str, pattern: str) -> bool:
    """Whether a pattern has to do with a licence: it is the whole or fits one of an expression."""
    names = re.split(r"(?<!\s)\s++(?:AND|OR)\s+|[,()]", licence)
    return licence.lower() == pattern.lower() or any(_fits(name, pattern) for name in names)


def _without_parentheses(licence: str, patterns: Sequence[str]) -> list[str]:
    """An expression in which what stood in parentheses is decided; in pieces, between which a ( was never closed."""
    open_ones = [list[str]()]
    for piece in re.split(r"([()])", licence):
        if piece == "(":
            open_ones.append([])
        elif piece == ")" and len(open_ones) > 1:
            inner = "".join(open_ones.pop())
            open_ones[-1].append(_YES if _holds(inner, patterns) else _NO)
        else:
            open_ones[-1].append(piece)
    return ["".join(pieces) for pieces in open_ones]


def _holds(flat: str, patterns: Sequence[str]) -> bool:
    """An expression without parentheses: AND binds more tightly than OR."""
    return any(
        all(_allows(name.strip(), patterns) for name in re.split(r"(?<!\s)\s++AND\s+|,", way))
        for way in re.split(r"(?<!\s)\s++OR\s+", flat)
    )


def _allows(name: str, patterns: Sequence[str]) -> bool:
    return name == _YES or (name != _NO and any(_fits(name, pattern) for pattern in patterns))


def _fits(name: str, pattern: str) -> bool:
    return fnmatchcase(name.strip().lower(), pattern.lower())
