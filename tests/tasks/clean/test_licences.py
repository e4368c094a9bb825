from __future__ import annotations

import pytest

from tasks.clean.licences import allowed, matches


@pytest.mark.parametrize(
    ("licence", "patterns", "expected"),
    [
        ("MIT", ("MIT",), True),
        ("mit", ("Apache-2.0", "MIT"), True),
        ("BSD-3-Clause", ("BSD*",), True),
        ("MIT-0", ("MIT",), False),
        ("unknown", ("MIT",), False),
        ("unknown", ("*",), True),
        ("MIT AND GPL-3.0-only", ("MIT*",), False),
        ("MIT AND Zlib", ("MIT", "Zlib"), True),
        ("MIT OR GPL-3.0-only", ("MIT",), True),
        ("GPL-3.0-only OR MIT AND Zlib", ("MIT",), False),
        ("(GPL-3.0-only OR MIT) AND Zlib", ("MIT", "Zlib"), True),
        ("(GPL-3.0-only AND MIT) OR Zlib", ("MIT",), False),
        ("((MIT OR Zlib) AND ISC)", ("Zlib", "ISC"), True),
        ("GPL-2.0 WITH Classpath-exception-2.0", ("GPL-2.0",), False),
        ("MIT License, GNU GPL v3", ("MIT*",), False),
        ("Apache License, Version 2.0", ("Apache License, Version 2.0",), True),
        ("BSD (3-clause)", ("BSD*",), True),
        ("BSD AND (GPL-3.0-only)", ("BSD*",), False),
        (") AND (", ("MIT",), False),
    ],
)
def test_a_licence_is_allowed_only_if_every_duty_that_it_brings_is(
    licence: str, patterns: tuple[str, ...], expected: bool
) -> None:
    assert allowed(licence, patterns) is expected


def test_a_pattern_has_to_do_with_a_licence_that_it_names_in_part() -> None:
    assert matches("(GPL-3.0-only OR MIT) AND Zlib", "gpl*")
    assert matches("Apache License, Version 2.0", "apache license, version 2.0")
    assert not matches("MIT AND Zlib", "Apache*")
