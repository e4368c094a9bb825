"""What a run says of itself: rows of metrics, of which the file is the truth, and lines of progress."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tasks.core.artifact import canonical
from tasks.core.step import Workdir, write_atomically


def last_step(path: Path) -> int:
    """The greatest step in a metrics file, 0 without one; a torn last line does not count."""
    if not path.exists():
        return 0
    whole = path.read_bytes().rpartition(b"\n")[0]
    return max((int(json.loads(line)["step"]) for line in whole.splitlines()), default=0)


def skipped_file(work: Workdir) -> Path:
    """Where skipped updates are listed, one JSON object a line."""
    return work.scratch / "skipped.jsonl"


class Journal:
    """Rows of metrics and lines of progress; a step that is in the file already is not written again."""

    def __init__(self, work: Workdir, writes: bool) -> None:
        self.work, self.writes = work, writes
        self.last = last_step(work.metrics_file) if writes else 0
        self.skipped_file = skipped_file(work)
        self.last_skipped = last_step(self.skipped_file) if writes else 0

    def row(self, step: int, values: dict[str, float]) -> None:
        """Append one row unless the file has come that far."""
        if self.writes and step > self.last:
            self.work.log_metrics(values, step)
            self.last = step

    def skipped(self, step: int, about: dict[str, Any]) -> None:
        """Append one row about a skipped update unless the file has come that far."""
        if self.writes and step > self.last_skipped:
            whole = self.skipped_file.read_bytes().rpartition(b"\n") if self.skipped_file.exists() else (b"", b"", b"")
            write_atomically(self.skipped_file, whole[0] + whole[1] + canonical({"step": step, **about}) + b"\n")
            self.last_skipped = step

    def say(self, line: str) -> None:
        """Print one line, on the first process only."""
        if self.writes:
            print(line, flush=True)
