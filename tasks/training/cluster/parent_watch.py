"""No trainer outlives its parent, and no two trainers share a work directory."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import IO

from tasks.core.errors import HostError

PR_SET_PDEATHSIG = 1
PARENT = "FROMZERO_TRAINER_PARENT"
"""Environment variable: the process id of the parent that a trainer process must not outlive."""


def die_with_parent(poll: float = 1.0) -> None:
    """Have this process killed when its parent, named in `PARENT`, is gone; without the variable nothing happens.

    On Linux the kernel does it at once; a thread that looks every `poll` seconds does it elsewhere, and covers a parent
    that died before the call.
    """
    if PARENT not in os.environ:
        return
    parent = int(os.environ[PARENT])
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(poll)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="lifeline", daemon=True).start()


def lock_trainer(path: Path, patience: float = 60.0) -> IO[bytes]:
    """Take the work directory for this process, until it ends; raises `HostError` after `patience` seconds."""
    file = path.open("ab")
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return file
        except BlockingIOError:
            if time.monotonic() > end:
                file.close()
                raise HostError(f"another trainer holds {path}: wait for it or end it, then run again") from None
            time.sleep(0.1)
