"""Bodies that are forked from servers which have loaded what they need (`fork_server`): the run's side.

There is a server for each environment and set of libraries, started when a body first needs it, for about what the body
would have cost alone. What cannot be forked safely is left to be spawned.
"""

from __future__ import annotations

import atexit
import itertools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from tasks.core import events, interpreter
from tasks.core.engine import child_process, device_slots
from tasks.core.engine.child_process import Child
from tasks.core.store.lease import stopping

LOADED = {
    "great_expectations": ("great_expectations",),
    "mlflow": ("numpy", "pyarrow.parquet", "pandas", "scipy.sparse", "fastapi", "alembic"),  # what it imports
    "numpy": ("numpy",),
    "pyarrow": ("numpy", "pyarrow.parquet", "pandas"),  # which it imports itself, to look at a list
    "torch": ("torch",),
    "transformers": ("transformers.modeling_utils",),  # most of it; its other modules import what is asked of them
}
"""What of distributions is worth loading beforehand; not polars and mlflow themselves, which start threads."""
OF_ONE_BODY = ("FROMZERO_CONTEXT", events.WORD, *device_slots.OF_ONE_BODY)
"""Variables that no library reads when it is loaded: they are set in the fork."""
MOST = 4
"""Servers that are kept, and the memory of their libraries with them."""
START = 120.0
"""Seconds that a server may take to load."""
ROOM = 1024
"""Bytes of a server's command line in which its forks show theirs."""


class Forked:
    """A body that was asked for of a server; a `Child` once it has a process id."""

    def __init__(self) -> None:
        self.pid, self.refused = 0, ""
        self.stdout: IO[bytes] | None = None
        self.code: int | None = None
        self.answered, self.ended = threading.Event(), threading.Event()

    def wait(self, timeout: float | None = None) -> int:
        """See `Child`."""
        if not self.ended.wait(timeout):
            raise subprocess.TimeoutExpired("a forked body", timeout or 0.0)
        assert self.code is not None
        return self.code

    def hear(self, message: Mapping[str, int | str]) -> None:
        """What the server says of it."""
        self.pid = int(message.get("pid", self.pid))
        self.refused = str(message.get("refused", self.refused))
        if "code" in message:
            self.end(int(message["code"]))
        self.answered.set()

    def lose(self) -> None:
        """Its server is gone: what there is of the body goes too, to be told from one that ended by itself."""
        if not self.pid:
            self.refused = self.refused or "gone"
        elif not self.ended.is_set():
            with suppress(OSError):
                pidfd = os.pidfd_open(self.pid)
                try:
                    os.killpg(self.pid, signal.SIGKILL)
                    select.select([pidfd], [], [], 5.0)
                finally:
                    os.close(pidfd)
        self.end(-signal.SIGKILL)
        self.answered.set()

    def end(self, code: int) -> None:
        """It has ended."""
        if self.code is None:
            self.code = code
        self.ended.set()


class Server:
    """One server, from the run's side; it ends when the run does, however that ends."""

    def __init__(self, environ: dict[str, str], modules: frozenset[str]) -> None:
        self.environ, self.modules, self.used = environ, modules, time.monotonic()
        self.open = True
        """It is there, and takes bodies."""
        self._bodies, self._numbers, self._lock = dict[int, Forked](), itertools.count(), threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            words = (str(theirs.fileno()), str(time.time_ns()), *sorted(modules), " " * ROOM)
            self.process = subprocess.Popen(
                interpreter.command("-m", "tasks.core.engine.places.local.fork_server", *words),
                cwd="/",
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        self._listener = threading.Thread(target=self._listen, name="fork-server", daemon=True)
        self._listener.start()

    def ask(self, job: Path, fds: Iterable[int]) -> tuple[int, Forked]:
        """Ask for a body, and wait for its process id or a refusal; what is given is to be handed to `over`."""
        number, body = next(self._numbers), Forked()
        self.used = time.monotonic()
        with self._lock:
            if not self.open:
                body.lose()
                return number, body
            self._bodies[number] = body
        with suppress(OSError):  # it has gone, which the listener hears too
            socket.send_fds(self._socket, [json.dumps({"body": number, "job": str(job)}).encode()], list(fds))
        try:
            deadline = time.monotonic() + START
            while not body.answered.wait(0.5):
                if stopping.is_set() or time.monotonic() > deadline:
                    body.refused = "slow"
                    break
        except BaseException:
            self.over(number)
            raise
        return number, body

    def over(self, number: int) -> None:
        """Nobody asks for a body any more."""
        with self._lock:
            body = self._bodies.get(number)
            if body is not None and (body.pid or not body.answered.is_set()):
                with suppress(OSError):
                    self._socket.send(json.dumps({"over": number}).encode())
            self._bodies.pop(number, None)
            self._leave_if_done()

    def retire(self) -> None:
        """Take no more bodies, and end when there is none."""
        with self._lock:
            self.open = False
            self._leave_if_done()

    def close(self) -> None:
        """End now, with all bodies."""
        self.open = False
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._listener.join(5)
        self.process.kill()

    def _leave_if_done(self) -> None:
        if not self.open and not self._bodies:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _listen(self) -> None:
        while data := self._receive():
            message = json.loads(data)
            with self._lock:
                body = self._bodies.get(message["body"])
            if body is not None:
                body.hear(message)
        with self._lock:
            self.open = False
            lost = list(self._bodies.values())
        for body in lost:
            body.lose()
        self.process.wait()
        self._socket.close()

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(65536)
        except OSError:
            return b""


class Servers:
    """The servers of this process; it is asked from several threads at once."""

    def __init__(self) -> None:
        self._servers, self._lock = list[Server](), threading.Lock()
        self._owner = os.getpid()
        self._spawned: set[tuple[str, frozenset[str]] | frozenset[str]] = set()
        """What has turned out not to be forkable: a step's entry with its libraries, or libraries with any."""

    @contextmanager
    def child(
        self,
        entry: str,
        libraries: Iterable[str],
        job: Path,
        environ: Mapping[str, str],
        lifeline: int,
        held: tuple[int, ...],
    ) -> Iterator[Child]:
        """A `child_process.Begin`, once it knows the step and what it will load: forked if that is safe, or spawned."""
        modules = frozenset(module for library in libraries for module in LOADED.get(library, ()))
        whole = child_process.environment(environ)
        kept = {name: value for name, value in whole.items() if name not in OF_ONE_BODY}
        for _ in range(3):  # a server may just have left, or its code be old; a new one is neither
            if self._spawned & {modules, (entry, modules)} or stopping.is_set():
                break
            server = self._server(kept, modules)
            with self._asked(server, job, lifeline, held) as body:
                if not body.refused:
                    yield body
                    return
            if body.refused in ("full", "slow"):
                break
            server.retire()
            if body.refused in ("code", "libraries"):
                self._spawned.add((entry, modules) if body.refused == "code" else modules)
        else:
            if body.refused == "edited":
                self._spawned.add((entry, modules))
        with child_process.spawned(job, environ, lifeline, held) as child:
            yield child

    @contextmanager
    def _asked(self, server: Server, job: Path, lifeline: int, held: tuple[int, ...]) -> Iterator[Forked]:
        """A body that was asked for, with its output; a refused one has none."""
        output, out = os.pipe()
        stdout = os.fdopen(output, "rb")
        try:
            number, body = server.ask(job, [out, lifeline, *held])
        except BaseException:
            stdout.close()
            raise
        finally:
            os.close(out)
        try:
            if body.refused:
                stdout.close()
            else:
                body.stdout = stdout
            yield body
        finally:
            server.over(number)

    def _server(self, environ: dict[str, str], modules: frozenset[str]) -> Server:
        """One that has loaded these modules in this environment, started if there is none."""
        with self._lock:
            self._servers = [server for server in self._servers if server.open]
            fit = (one for one in self._servers if one.environ == environ and one.modules >= modules)
            found = min(fit, key=lambda server: len(server.modules), default=None)
            if found is None:
                found = Server(environ, modules)
                self._servers.append(found)
                for old in sorted(self._servers, key=lambda server: server.used)[:-MOST]:
                    old.retire()
            return found

    def close(self) -> None:
        """End them all; a fork of this process has none."""
        if os.getpid() != self._owner:
            return
        with self._lock:
            servers, self._servers = self._servers, []
        for server in servers:
            server.close()


FORKS = sys.platform == "linux" and hasattr(os, "pidfd_open")
"""This system forks what has loaded large libraries, and has what servers need."""
SERVERS = Servers()
atexit.register(SERVERS.close)
