"""Services that are kept running: started, started again when they die, and never left behind.

As `python -m tasks.core.services.supervised PIPE COMMAND…` this module is a guard: it runs the command in a process
group of its own, and ends the whole group when the command ends or when whoever holds the other end of the pipe is
gone.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.core import interpreter
from tasks.core.errors import HostError

if TYPE_CHECKING:
    import psutil

LONGEST_PAUSE = 30.0
"""Seconds before a service that keeps dying is started again, at most."""
CALM = 60.0
"""Seconds after which a service that runs counts as well: its next restart comes at once."""
GRACE = 15.0
"""Seconds that a service has to leave after SIGTERM, if it names no other number."""


@dataclass
class Service:
    """One service: how it is started, and how it is doing."""

    name: str
    command: list[str]
    log: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    ready: Callable[[], bool] = lambda: True
    """What must be so before it is started."""
    grace: float = GRACE
    """Seconds that it has to leave after SIGTERM."""
    restarts: int = 0
    in_a_row: int = 0
    """Restarts, each soon after the one before."""
    started: float = 0.0
    _process: subprocess.Popen[bytes] | None = None
    _pipe: int | None = None
    _due: float = 0.0
    _pause: float = 0.5

    @property
    def pid(self) -> int | None:
        """The guard's process id while the service runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def look(self) -> None:
        """Start it, or start it again when it has died; returns at once."""
        if self.pid is not None or not self.ready():
            return
        now = time.monotonic()
        if self._process is not None:
            self._release()
            self.restarts += 1
            calm = now - self.started > CALM
            self.in_a_row = 1 if calm else self.in_a_row + 1
            self._pause = 0.5 if calm else min(self._pause * 2, LONGEST_PAUSE)
            self._due = now + self._pause
        if now >= self._due:
            self._start()

    def _start(self) -> None:
        read_end, self._pipe = os.pipe()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                interpreter.command("-m", "tasks.core.services.supervised", str(read_end), *self.command),
                cwd=self.log.parent,
                env={**interpreter.environment(), **self.environ},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[read_end],
                start_new_session=True,
            )
        os.close(read_end)
        self.started = time.monotonic()

    def stop(self) -> None:
        """SIGTERM to its group, SIGKILL after the grace time."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(self.grace)
        self._release()

    def _release(self) -> None:
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None

    def status(self) -> dict[str, Any]:
        """How it is doing, as JSON."""
        return {"pid": self.pid, "restarts": self.restarts, "log": str(self.log)}


def end_groups(folder: Path, leaders: Collection[int]) -> None:
    """End at once what is left of the process groups that services in `folder` have had, by their guards' ids.

    A guard ends with its keeper, and its group with it; if both were killed, the service itself is left.
    """
    import psutil

    left = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError):
            if os.getpgid(process.pid) in leaders and Path(process.cwd()) == folder.resolve():  # no other's by now
                process.kill()
                left.append(process)
    psutil.wait_procs(left, GRACE)


def free_port() -> int:
    """A port on the loopback address that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def check_port(host: str, port: int, option: str) -> None:
    """Raise `HostError` that names the owner and the option if a port is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise HostError(
                f"port {port} of {host} cannot be used ({error.strerror}{_owner(port)}): end what uses it, or give "
                f"another one: `fromzero up {option}={port + 100}`"
            ) from error


def _owner(port: int) -> str:
    process = user_of(port)
    return f", by {process.name()} with process id {process.pid}" if process is not None else ""


def user_of(port: int) -> psutil.Process | None:
    """Who listens on a port of this machine; None if that cannot be seen."""
    import psutil

    try:
        found = psutil.net_connections("tcp")
        pids = [c.pid for c in found if c.laddr and c.laddr.port == port and c.status == "LISTEN" and c.pid]
        return psutil.Process(pids[0]) if pids else None
    except psutil.Error:
        return None


def guard(pipe: int, command: list[str]) -> None:
    """Run a command until it ends or the pipe closes; then nothing of its process group is left."""
    signal.signal(signal.SIGTERM, lambda *_: None)  # the command, in the same group, has it too
    child = subprocess.Popen(command, preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))

    def die_with_keeper() -> None:
        os.read(pipe, 1)
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=die_with_keeper, daemon=True).start()
    child.wait()
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    guard(int(sys.argv[1]), sys.argv[2:])
