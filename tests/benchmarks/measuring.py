"""CPU seconds, peak memory and outcome of one piece of work; without fromzero, since its peers use this too."""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import statistics
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any


def _cpu() -> float:
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in spent)


def measured(work: Callable[[], dict[str, Any]]) -> None:
    """Do it; print one line of JSON: what it returns, cpu (s), peak_mb."""
    before = _cpu()
    found = work()
    print(json.dumps({**found, "cpu": round(_cpu() - before, 2), "peak_mb": peak_mb()}))


def peak_mb() -> int:
    """The most memory that this process has had, in MB."""
    status = Path("/proc/self/status").read_text()  # getrusage would count the parent's memory at the fork
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) // 1024  # type: ignore[index]


class Steps:
    """When each optimizer step ended and what each checkpoint held up, of a training in this process."""

    def __init__(self) -> None:
        self.ends: list[tuple[float, float]] = []
        self.stalls: list[float] = []

    def tick(self, *_: object, **__: object) -> None:
        """A step has ended."""
        self.ends.append((_cpu(), time.time()))

    def stall(self, save: Callable[..., Any]) -> Callable[..., Any]:
        """`save`, and the seconds that it keeps its caller waiting are noted."""

        def timed(*args: Any, **options: Any) -> Any:
            began = time.perf_counter()
            found = save(*args, **options)
            self.stalls.append(time.perf_counter() - began)
            return found

        return timed

    def found(self, skip: int) -> dict[str, Any]:
        """CPU-seconds of each step after the first `skip`, seconds from the start of the process (BEGAN in the
        environment) to the end of the first step, the median stall, and peak memory."""
        cpu = [spent for spent, _ in self.ends[skip - 1 :]]
        stalls = {"stall": statistics.median(self.stalls)} if self.stalls else {}
        first = self.ends[0][1] - float(os.environ["BEGAN"])
        cost = {"cpu": [end - begin for begin, end in pairwise(cpu)], "steps": len(self.ends)}
        return {**cost, "first": first, **stalls, "peak_mb": peak_mb()}


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
