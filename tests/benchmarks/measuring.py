"""CPU seconds and peak memory of one piece of work; imports nothing of fromzero, since its peers are measured too."""

from __future__ import annotations

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
