"""Which runs of a home live: each holds a lock on a file that says what it is; an unlocked file is a dead run's.

The lock is the truth for every process of this machine, containers and the time before a power cut included. A home
that machines share may not show the locks of another one: a run there counts as alive while it gives signs of life.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

SILENT = 600.0
"""Seconds without a sign of life after which a run on another machine counts as dead; clocks differ by less."""
UNWRITTEN = 60.0
"""Seconds after which an announcement that says nothing is that of a run whose disk was full."""


def short(run: str) -> str:
    """As much of a run's id as a person types: its end, since the ids of one minute may begin alike."""
    return run[-8:]


def boot() -> str:
    """The id of this boot of this machine, the same in all its containers; empty where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


class Announced:
    """This process's run, announced until it ends, however it ends."""

    def __init__(self, home: Path, run: str, **about: Any) -> None:
        """`about` is shown to whoever looks: recipe, name, started (Unix time in seconds)."""
        self.path = home / "running" / f"{run}.json"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.told = True
        """All that it owed is told."""
        self._file: IO[bytes] | None = self.path.open("ab+")
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._file.truncate(0)
        about = {"run": run, "pid": os.getpid(), "host": socket.gethostname(), "boot": boot(), **about}
        self._file.write(json.dumps(about).encode())
        self._file.flush()

    @property
    def over(self) -> bool:
        """This process has no more to do with it."""
        return self._file is None

    def beat(self) -> None:
        """A sign of life, for machines that cannot see the lock."""
        with suppress(OSError):
            os.utime(self.path)

    def owe(self, **about: Any) -> None:
        """Note what could not be told where it counts, for whoever finds this run dead; a full disk notes nothing."""
        self.told = False
        if self._file is not None:
            with suppress(OSError):
                self._file.write(b"\n" + json.dumps(about).encode())
                self._file.flush()

    def leave(self) -> None:
        """The run ends now; what it had to say is for others to say."""
        if self._file is not None:
            with suppress(OSError):  # what a full disk did not take when it was written is tried again here
                self._file.close()
            self._file = None

    def withdraw(self) -> None:
        """The run has ended and has said so where it counts."""
        if self._file is not None:
            self.path.unlink(missing_ok=True)
            self.leave()


def living(home: Path) -> list[dict[str, Any]]:
    """The runs that live now, oldest first: run, pid and what they announced."""
    return [about for about, alive in _looked_at(home) if alive]


def dead(home: Path) -> list[dict[str, Any]]:
    """The runs that vanished."""
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
                    locked = False
                except BlockingIOError:
                    locked = True
                about = _announcement(path, file.read(), time.time() - os.fstat(file.fileno()).st_mtime)
                if about is not None:
                    yield about, locked or _beats_elsewhere(about, path)
        except FileNotFoundError:  # it ended meanwhile
            continue


def _announcement(path: Path, data: bytes, age: float) -> dict[str, Any] | None:
    """What an announcement says, with what its run owes; None while it is just being written."""
    about: dict[str, Any] = {}
    for line in data.split(b"\n"):
        with suppress(ValueError):  # a full disk cuts a line off
            about |= dict(json.loads(line))
    if not about and age < UNWRITTEN:
        return None
    return {"run": path.stem, "pid": None} | about


def _beats_elsewhere(about: dict[str, Any], path: Path) -> bool:
    """A run of another machine, whose lock may not be seen here, has given a sign of life of late."""
    ours = about.get("host") in (None, socket.gethostname()) or about.get("boot") == boot()
    return not ours and time.time() - _written(path) < SILENT
