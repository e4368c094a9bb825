"""What a run says of itself: rows of metrics, of which the file is the truth, lines for the log, and events."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tasks.core.artifact import canonical
from tasks.core.events import Event, tell
from tasks.core.small_files import write_atomically
from tasks.core.workdir import Workdir
from tasks.formats.evaluation import TRAINING_SAMPLES_FILE


def last_step(path: Path) -> int:
    """The greatest step in a metrics file, 0 without one; a torn last line does not count."""
    return max((int(json.loads(line)["step"]) for line in whole_rows(path).splitlines()), default=0)


def whole_rows(path: Path) -> bytes:
    """The rows of a file, none if it is not there; a torn last line is left out."""
    return b"".join(path.read_bytes().rpartition(b"\n")[:2]) if path.exists() else b""


def skipped_file(work: Workdir) -> Path:
    """Where skipped updates are listed, one JSON object a line."""
    return work.scratch / "skipped.jsonl"


def samples_file(work: Workdir) -> Path:
    """Where what the network wrote is listed, one JSON object a line."""
    return work.scratch / TRAINING_SAMPLES_FILE


class Journal:
    """Rows of metrics, lines and events; a step that is in the file already is not written again."""

    def __init__(self, work: Workdir, writes: bool) -> None:
        self.work, self.writes = work, writes
        self.last = last_step(work.metrics_file) if writes else 0
        self.listed = {path: last_step(path) for path in self.files[1:] if writes}

    @property
    def files(self) -> list[Path]:
        """What it writes, whether or not it is there yet."""
        return [self.work.metrics_file, skipped_file(self.work), samples_file(self.work)]

    def catch_up(self, copies: Iterable[Path]) -> None:
        """Append what copies of these files, from another machine, have beyond them."""
        for copy in copies:
            own = next(path for path in self.files if path.name == copy.name)
            last, before = last_step(own), whole_rows(own)
            more = [line for line in whole_rows(copy).splitlines(keepends=True) if json.loads(line)["step"] > last]
            if more:
                write_atomically(own, before + b"".join(more))
        self.last = last_step(self.work.metrics_file)
        self.listed = {path: last_step(path) for path in self.files[1:]}

    def row(self, step: int, values: dict[str, float]) -> None:
        """Append one row unless the file has come that far."""
        if self.writes and step > self.last:
            self.work.log_metrics(values, step)
            self.last = step

    def skipped(self, step: int, about: dict[str, Any]) -> None:
        """Append one row about a skipped update unless the file has come that far."""
        self._list(skipped_file(self.work), step, about)

    def sampled(self, step: int, samples: list[dict[str, str]]) -> None:
        """Append one row of what the network wrote unless the file has come that far."""
        self._list(samples_file(self.work), step, {"samples": samples})

    def _list(self, path: Path, step: int, about: dict[str, Any]) -> None:
        if self.writes and step > self.listed[path]:
            write_atomically(path, whole_rows(path) + canonical({"step": step, **about}) + b"\n")
            self.listed[path] = step

    def say(self, line: str) -> None:
        """Print one line, on the first process only."""
        if self.writes:
            print(line, flush=True)

    def tell(self, event: Event) -> None:
        """Tell one event, on the first process only."""
        if self.writes:
            tell(event)

    def notice(self, text: str) -> None:
        """Tell how it goes, where a person is to know."""
        self.tell(Event("notice", text=text))

    def result(self, text: str) -> None:
        """Tell what came out."""
        self.tell(Event("result", text=text))
