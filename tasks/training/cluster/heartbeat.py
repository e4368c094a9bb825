"""A training process's sign of life, which the agent that started it can read even when the process is stopped."""

from __future__ import annotations

import faulthandler
import mmap
import os
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PULSE = "FROMZERO_PULSE"
"""Environment variable: the folder in which each training process of this machine keeps its heartbeat."""
STACKS = signal.SIGUSR2
"""The signal at which a training process writes down the stacks of its threads."""
_FORM = struct.Struct("qqq")


@dataclass(frozen=True)
class Sign:
    """What a heartbeat says at one moment."""

    beats: int
    """Grows with everything that the process gets done."""
    step: int
    """The newest finished optimizer step."""
    watched: bool
    """Whether silence means that something is wrong: not before the first step is finished, nor in a pause."""


def heartbeat_file(folder: Path, pid: int) -> Path:
    """Where the process `pid` keeps its heartbeat."""
    return folder / f"{pid}.heartbeat"


def stacks_file(folder: Path, pid: int) -> Path:
    """Where the process `pid` writes its stacks."""
    return folder / f"{pid}.stacks"


def read_sign(folder: Path, pid: int) -> Sign | None:
    """The present sign of the process `pid`; None as long as it keeps no heartbeat."""
    try:
        beats, step, watched = _FORM.unpack(heartbeat_file(folder, pid).read_bytes())
    except (OSError, struct.error):
        return None
    return Sign(beats, step, bool(watched))


class Heartbeat:
    """The heartbeat of this process: a few numbers in shared memory, so that a beat costs no system call."""

    def __init__(self, folder: Path | None) -> None:
        """Keep the heartbeat in `folder`; without one nobody looks."""
        self._map = mmap.mmap(-1, _FORM.size)
        if folder is not None:
            path = heartbeat_file(folder, os.getpid())
            path.write_bytes(bytes(_FORM.size))
            with path.open("r+b") as file:
                self._map = mmap.mmap(file.fileno(), _FORM.size)
        self._words = memoryview(self._map).cast("q")

    @classmethod
    def here(cls) -> Heartbeat:
        """The heartbeat of a training process, in the folder that its agent has named."""
        return cls(Path(os.environ[PULSE]) if PULSE in os.environ else None)

    def beat(self) -> None:
        """Say that something was done."""
        self._words[0] += 1

    def finished(self, step: int) -> None:
        """Say that an optimizer step was finished; from the first one on, silence is watched."""
        self._words[1] = step
        self._words[0] += 1
        self._words[2] = 1

    def rest(self) -> None:
        """Silence means nothing from here on."""
        self._words[2] = 0

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Silence means nothing while inside."""
        watched, self._words[2] = self._words[2], 0
        yield
        self._words[0] += 1
        self._words[2] = watched


def show_stacks_when_asked() -> None:
    """Write the stacks of all threads down at the signal `STACKS`, if an agent has named a folder for them.

    The file stays open as long as the process: the handler, which is plain C, also answers while Python waits in a
    library.
    """
    if PULSE in os.environ:
        file = stacks_file(Path(os.environ[PULSE]), os.getpid()).open("wb")
        faulthandler.register(STACKS, file=file, all_threads=True, chain=False)
