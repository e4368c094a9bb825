"""Which runs of a home live: each holds a lock on a file that says what it is; an unlocked file is a dead run's."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any


def short(run: str) -> str:
    """As much of a run's id as a person types: its end, since the ids of one minute may begin alike."""
    return run[-8:]


class Announced:
    """This process's run, announced until it ends, however it ends."""

    def __init__(self, home: Path, run: str, **about: Any) -> None:
        """`about` is shown to whoever looks: recipe, name, started (Unix time in seconds)."""
        self.path = home / "running" / f"{run}.json"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] | None = self.path.open("ab+")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._file.truncate(0)
        self._file.write(json.dumps({"run": run, "pid": os.getpid(), **about}).encode())
        self._file.flush()

    def withdraw(self) -> None:
        """The run has ended and has said so where it counts."""
        if self._file is not None:
            self.path.unlink(missing_ok=True)
            self._file.close()
            self._file = None


def living(home: Path) -> list[dict[str, Any]]:
    """The runs that live now, oldest first: run, pid and what they announced."""
    return [about for about, alive in _looked_at(home) if alive]


def dead(home: Path) -> list[dict[str, Any]]:
    """The runs that went without a word."""
    return [about for about, alive in _looked_at(home) if not alive]


def forget(home: Path, run: str) -> None:
    """A dead run has been reported: it is not to be found again."""
    (home / "running" / f"{run}.json").unlink(missing_ok=True)


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # its run has just ended
        return 0.0


def _looked_at(home: Path) -> Iterator[tuple[dict[str, Any], bool]]:
    for path in sorted((home / "running").glob("*.json"), key=_written):
        try:
            with path.open("rb") as file:
                try:
                    fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    alive = False
                except BlockingIOError:
                    alive = True
                yield dict(json.loads(file.read())), alive
        except (FileNotFoundError, ValueError):  # it ended meanwhile, or is just being written
            continue
