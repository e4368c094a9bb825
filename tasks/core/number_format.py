"""Numbers as a reader wants them, the same in the terminal, on Prefect's pages and in the report."""

from __future__ import annotations

import math
from datetime import UTC, datetime

NONE = "–"
BEGINNING = "(beginning of a document)"
"""What a prompt without text is called."""


def count(value: float | None) -> str:
    """Thousands apart: 12,345."""
    return NONE if value is None else f"{value:,.0f}"


def plural(value: int, one: str) -> str:
    """1 shard, 2 shards."""
    return f"{count(value)} {one}{'' if value == 1 else 's'}"


def size(value: float | None) -> str:
    """Bytes in the unit that fits: 12.3 MB (powers of 1000)."""
    if value is None:
        return NONE
    for unit in ("B", "kB", "MB", "GB"):
        if abs(value) < 1000:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def seconds(value: float | None) -> str:
    """A duration: 12.3 s, 4 min 20 s, 2 h 05 min, 1 d 3 h."""
    if value is None:
        return NONE
    if value < 100:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    hours = minutes // 60
    return f"{hours} h {minutes % 60:02} min" if hours < 24 else f"{hours // 24} d {hours % 24} h"


def ahead(value: float) -> str:
    """A duration that is foretold, to which tenths of a second do not belong: 12 s, 4 min 20 s, 1 d 3 h."""
    return f"{value:.0f} s" if value < 100 else seconds(value)


def share(part: float | None, whole: float = 1) -> str:
    """A part of a whole in percent: 98.1 %; there is no part of nothing."""
    return NONE if part is None or not whole else f"{100 * part / whole:.1f} %"


def number(value: float | None) -> str:
    """A count as such; a measure with three decimals, a small one with three digits, a large one with none."""
    if value is None or not math.isfinite(value):
        return NONE
    if isinstance(value, int) or 1000 <= abs(value) < 1e15:
        return count(value)
    return f"{value:.3f}" if value == 0 or 0.001 <= abs(value) < 1000 else f"{value:.2e}"


def change(value: float) -> str:
    """By how much a measure differs: +0.0123."""
    return f"{value:+,}" if isinstance(value, int) else f"{value:+,.4f}"


def interval(low: float | None, high: float | None) -> str:
    """[0.382, 0.481], empty without one."""
    return "" if low is None or high is None else f"[{number(low)}, {number(high)}]"


def moment(value: float | None) -> str:
    """Unix seconds as 2026-11-24 13:28 UTC."""
    return NONE if value is None else datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M UTC")
