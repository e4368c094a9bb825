"""The work directory: where one attempt of a step writes, and what outlives it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tasks.core.artifact import FileEntry
from tasks.core.small_files import write_atomically

METRICS_FILE, SYSTEM_FILE = "metrics.jsonl", "system.jsonl"
ABOUT = "about.json"
"""In the scratch: what it belongs to."""


@dataclass(frozen=True)
class Kept:
    """Files of an attempt that lie in the store already, sent there by the machine on which they were made."""

    attempt: str
    files: tuple[FileEntry, ...]

    @classmethod
    def of(cls, raw: Mapping[str, Any]) -> Kept:
        """From JSON."""
        return cls(raw["attempt"], tuple(FileEntry(**entry) for entry in raw["files"]))


class Workdir:
    """Where one attempt of a step writes.

    `work / NAME` is a path under content/ (digested, becomes the artifact), `work.aux / NAME` one under aux/ (kept, not
    digested). Both are emptied before each attempt. `work.scratch` survives retries, crashes and new runs until the
    artifact is published: checkpoints live there.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.content, self.aux, self.scratch = root / "content", root / "aux", root / "scratch"

    def __truediv__(self, name: str) -> Path:
        path = self.content / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def make(self) -> None:
        """Create the three folders."""
        for folder in (self.content, self.aux, self.scratch):
            folder.mkdir(parents=True, exist_ok=True)

    @property
    def name(self) -> str:
        """STEP/KEY: what it is called in the store."""
        return f"{self.root.parent.name}/{self.root.name}"

    @property
    def epoch_file(self) -> Path:
        """Where a store that is not this folder notes the epoch of the lease under which it was opened last."""
        return self.root / "epoch"

    @property
    def kept(self) -> Kept | None:
        """What of its files lies in the store already; None if nothing does."""
        try:
            return Kept.of(json.loads((self.root / "kept.json").read_bytes()))
        except FileNotFoundError:
            return None

    @kept.setter
    def kept(self, value: Kept | None) -> None:
        if value is None:
            (self.root / "kept.json").unlink(missing_ok=True)
        else:
            write_atomically(self.root / "kept.json", json.dumps(asdict(value)).encode())

    @property
    def metrics_file(self) -> Path:
        """Metric rows, one JSON object a line: {"step", "time", name: value, ...}; the parent sends them to MLflow."""
        return self.scratch / METRICS_FILE

    @property
    def system_file(self) -> Path:
        """Rows of the same form about the machine, sampled by the parent of a tracked step."""
        return self.scratch / SYSTEM_FILE

    def log_metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Append one row of metrics; a torn last line of a killed writer is cut off first."""
        row = {"step": step, "time": time.time(), **values}
        with self.metrics_file.open("ab+") as file:
            _cut_torn_line(file)
            file.write(json.dumps(row).encode() + b"\n")

    @property
    def progress(self) -> int:
        """How far the newest whole checkpoint is (any unit that grows); 0 without one."""
        try:
            return int((self.scratch / "progress").read_text())
        except (FileNotFoundError, ValueError):
            return 0

    @progress.setter
    def progress(self, value: int) -> None:
        write_atomically(self.scratch / "progress", str(value).encode())

    @property
    def spent(self) -> tuple[float, int]:
        """Seconds and attempts, earlier runs' included, that have gone into the scratch; (0.0, 0) at first."""
        try:
            seconds, attempts = json.loads((self.scratch / "spent.json").read_bytes())
        except (FileNotFoundError, ValueError):
            return 0.0, 0
        return float(seconds), int(attempts)

    @spent.setter
    def spent(self, value: tuple[float, int]) -> None:
        write_atomically(self.scratch / "spent.json", json.dumps(value).encode())


def _cut_torn_line(file: Any) -> None:
    end = file.seek(0, os.SEEK_END)
    if end:
        file.seek(end - 1)
        if file.read(1) != b"\n":
            file.seek(0)
            file.truncate(file.read().rfind(b"\n") + 1)
