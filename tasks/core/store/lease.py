"""Leases: one maker per key, and free again the moment its holder is gone."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path
from typing import Protocol, Self

from tasks.core.errors import Conflict

stopping = threading.Event()
"""Set when this process is about to end: whoever waits for a lease gives up."""


class Lease(Protocol):
    """The right to make one thing."""

    epoch: int
    """Grows with each holder; 0 where a dead holder cannot write any more."""

    @property
    def fds(self) -> tuple[int, ...]:
        """Descriptors that keep the lease, and what is held with it, while any process has them open."""

    def held(self) -> bool:
        """False once the lease is known to be lost: what it guards must stop."""

    def release(self) -> None:
        """Give the lease back."""

    def __enter__(self) -> Self:
        """Hold the lease while inside."""

    def __exit__(self, *_: object) -> None:
        """Give it back."""


class FileLease:
    """An flock on a file that is never unlinked; children that inherit `fd` keep it held."""

    epoch = 0

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd

    @property
    def fd(self) -> int | None:
        return self._fd

    @property
    def fds(self) -> tuple[int, ...]:
        return () if self._fd is None else (self._fd,)

    def held(self) -> bool:
        return self._fd is not None

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class Reading:
    """What a reader of a store that it cannot write has in place of a lease: nobody is kept out."""

    epoch = 0
    fds: tuple[int, ...] = ()

    def held(self) -> bool:
        return True

    def release(self) -> None:
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


def lock_file(path: Path, timeout: float | None = None) -> FileLease:
    """Lock a file, waiting up to `timeout` seconds (None: for ever); raises `Conflict` if it stays taken."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = 0.01
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return FileLease(fd)
        except BlockingIOError:
            if stopping.is_set() or (deadline is not None and time.monotonic() >= deadline):
                os.close(fd)
                raise Conflict(f"{path.name} is held by another run") from None
            time.sleep(pause)
            pause = min(pause * 2, 0.2)
        except BaseException:
            os.close(fd)
            raise
