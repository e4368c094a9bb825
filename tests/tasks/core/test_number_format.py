"""Numbers for people."""

from __future__ import annotations

import math

from tasks.core.number_format import ahead, change, count, interval, moment, number, plural, seconds, share, size


def test_units_are_those_that_fit() -> None:
    assert [size(n) for n in (0, 999, 1234, 5_600_000, 2.5e15)] == ["0 B", "999 B", "1.2 kB", "5.6 MB", "2,500.0 TB"]
    assert [seconds(n) for n in (3.21, 99.9, 200, 7500)] == ["3.2 s", "99.9 s", "3 min 20 s", "2 h 05 min"]
    assert (share(1, 3), share(0.5), moment(0)) == ("33.3 %", "50.0 %", "1970-01-01 00:00 UTC")
    assert [seconds(86_400 * 2 + 3 * 3600), ahead(12.4), ahead(97_300)] == ["2 d 3 h", "12 s", "1 d 3 h"]


def test_a_measure_has_three_decimals_and_a_count_none() -> None:
    assert [number(n) for n in (0.5, 2.0912, 123.4567, 0.0)] == ["0.500", "2.091", "123.457", "0.000"]
    assert [number(n) for n in (3e-4, 13410.5, -2e9, 7, 12345)] == [
        "3.00e-04",
        "13,410",
        "-2,000,000,000",
        "7",
        "12,345",
    ]
    assert [change(n) for n in (0.01234, -1234.5, 5, -2000)] == ["+0.0123", "-1,234.5000", "+5", "-2,000"]
    assert (plural(1, "file"), plural(2000, "file"), count(1234)) == ("1 file", "2,000 files", "1,234")
    assert interval(0.38249, 0.4812) == "[0.382, 0.481]"


def test_what_is_not_known_is_no_number() -> None:
    assert {number(None), number(math.nan), count(None), size(None), seconds(None), share(None), moment(None)} == {"–"}
    assert (share(1, 0), interval(None, 0.4), interval(0.4, None)) == ("–", "", "")
