"""CPU seconds, peak memory and outcome of one piece of work; without fromzero, since its peers use this too."""

from __future__ import annotations

import hashlib
import json
import re
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any


def _cpu() -> float:
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in spent)


def measured(work: Callable[[], dict[str, Any]]) -> None:
    """Do it; print one line of JSON: what it returns, cpu (s), peak_mb."""
    before = _cpu()
    found = work()
    status = Path("/proc/self/status").read_text()  # getrusage would count the parent's memory at the fork
    peak = int(re.search(r"VmHWM:\s+(\d+)", status)[1])  # type: ignore[index]
    print(json.dumps({**found, "cpu": round(_cpu() - before, 2), "peak_mb": peak // 1024}))


def merges(tokenizer: str) -> str:
    """A short digest of the merges of a tokenizer.json."""
    found = json.dumps([list(pair) for pair in json.loads(tokenizer)["model"]["merges"]])
    return hashlib.sha256(found.encode()).hexdigest()[:12]


def recall(pairs: Path, kept: set[str]) -> dict[str, float]:
    """The share of planted pairs of which not both stay, by band of similarity."""
    found: dict[str, list[bool]] = {}
    for band, one, other in json.loads(pairs.read_text()):
        found.setdefault(band, []).append(not {one, other} <= kept)
    return {band: round(sum(hits) / len(hits), 3) for band, hits in found.items()}
