"""No pattern and no reader of text takes time that grows faster than the text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.security.patterns import Found, everywhere, hostile, seconds

SHORT, LONG = 500, 4_000
"""Characters of a hostile text, the first time and the last; each time twice as many as before."""
SOON = 0.002
"""CPU seconds within which nothing that grows with the square is through with `LONG`."""
GROWTH = 2.5
"""Times as long as a text may take that is twice as long."""


def refuse_growth(look: Callable[[str], Any], text: Callable[[int], str], long: int = LONG, soon: float = SOON) -> None:
    """Fails if twice the text takes more than `GROWTH` times as long, at a length at which it takes long at all."""
    length = SHORT
    while length < long:
        length *= 2
        if seconds(look, text(length)) > soon and seconds(look, text(length), 3) > soon:
            tries = [(seconds(look, text(length // 2), 3), seconds(look, text(length), 3)) for _ in range(2)]
            once, twice = min(tries, key=lambda pair: pair[1] / pair[0])
            assert twice <= GROWTH * once, f"{text(60)!r}: {once:.4f} s, twice as long {twice:.4f} s"


@pytest.mark.parametrize("found", everywhere(), ids=lambda found: found.where)
def test_a_pattern_takes_twice_as_long_for_twice_the_text_at_the_most(found: Found) -> None:
    for text in hostile(found):
        refuse_growth(found.look, text)


def test_a_pattern_that_is_quadratic_is_noticed() -> None:
    import re

    from tests.security.patterns import Python

    for pattern in (r"a+b", r"\s+\n", r"[\w.]+@", r"(?:a|b)*c", r"BEGIN.*?END", r"x[x\d]*y"):
        found = Found("here", Python(re.compile(pattern), False))
        with pytest.raises(AssertionError, match="twice as long"):
            for text in hostile(found):
                refuse_growth(found.look, text)
