"""One thing that was looked at, and how to fix it: a row of `fromzero doctor`."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARN, FAIL = "ok", "warn", "fail"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: str
    """ok, warn (works, but) or fail (a run will not work)."""
    found: str
    fix: str = ""
