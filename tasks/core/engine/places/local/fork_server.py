"""The process that bodies of steps are forked from: it has loaded what they need, and carries none out itself.

`python -m tasks.core.engine.places.local.fork_server SOCKET NOW MODULE …` serves the run at a socket's other end, in
JSON objects, and leaves once that run is gone (then with all bodies), or when it has had none for `IDLE` seconds.

    {"body": 7, "job": PATH}   with the descriptors of the body's output, its life line, its lease and its devices
        {"body": 7, "pid": N}          its process begins when the life line says N, and goes when that closes
        {"body": 7, "refused": WHY}    none is forked: code was `edited`; `libraries` or the step's `code`
                                       run threads or use a device; the machine is `full`
        {"body": 7, "code": C}         it has ended, as `subprocess` says it; its id is kept
    {"over": 7}                nobody asks for the body any more: its group is ended and its id let go
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import json
import os
import select
import signal
import socket
import sys
import sysconfig
import threading
import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from tasks.core import interpreter
from tasks.core.engine import child_process
from tasks.core.plan import source_code
from tasks.core.small_files import Stamp, stamp

MOST_FDS = 64
"""Descriptors that a body may be given."""
IDLE = 60.0
"""Seconds without a body after which a server leaves."""
QUIET = {"JE_ARROW_MALLOC_CONF": "background_thread:false"}
"""Keeps the allocators of libraries from starting threads, while they are loaded."""
DEVICES = ("/dev/nvidia", "/dev/kfd")
"""What a process has open that uses a device: in its forks the device does not work."""


@dataclass
class Body:
    """A forked process, from its parent's side."""

    pid: int
    pidfd: int
    ended: bool = False
    over: bool = False


class Server:
    """Forks bodies for the run at the other end of a socket, one after another, in the one thread that there is."""

    def __init__(self, run: socket.socket, since: int, modules: Iterable[str]) -> None:
        self._run, self._bodies = run, dict[int, Body]()
        self._code = LoadedCode(since)
        load(modules)
        self._refused = "" if forkable() else "libraries"

    def serve(self) -> None:
        """Until the run is gone, or has had no body for a while."""
        while True:
            watched = {body.pidfd: number for number, body in self._bodies.items() if not body.ended}
            poll = select.poll()
            for fd in (self._run.fileno(), *watched):
                poll.register(fd, select.POLLIN)
            ready = [fd for fd, _ in poll.poll(None if self._bodies else IDLE * 1000)]
            for fd in ready:
                if fd in watched:
                    self._ended(watched[fd])
                elif not self._hear():
                    return
            if not ready:
                return

    def _hear(self) -> bool:
        """Do what the run asks for; False once it is gone, and its bodies with it."""
        try:
            data, fds, _, _ = socket.recv_fds(self._run, 65536, MOST_FDS)
        except ConnectionError:
            data, fds = b"", []
        if not data:
            for body in self._bodies.values():
                _end(body)
            return False
        message = json.loads(data)
        if "over" in message:
            self._over(message["over"])
            return True
        try:
            self._begin(message["body"], message["job"], fds)
        finally:
            for fd in fds:
                os.close(fd)
        return True

    def _begin(self, number: int, job: str, fds: list[int]) -> None:
        why = self._refused or self._code.prepare(job)
        if why or (why := "" if forkable() else "code"):
            self._tell(body=number, refused=why)
            return
        gc.freeze()
        sys.stdout.flush()
        sys.stderr.flush()
        try:
            pid = os.fork()
        except OSError:
            self._tell(body=number, refused="full")
            return
        if pid == 0:
            self._be(number, job, *fds)
        self._bodies[number] = Body(pid, os.pidfd_open(pid))

    def _ended(self, number: int) -> None:
        body = self._bodies[number]
        found = os.waitid(os.P_PID, body.pid, os.WEXITED | os.WNOWAIT)
        assert found is not None
        body.ended = True
        os.close(body.pidfd)
        self._tell(body=number, code=found.si_status if found.si_code == os.CLD_EXITED else -found.si_status)
        self._let_go(number)

    def _over(self, number: int) -> None:
        if (body := self._bodies.get(number)) is not None:  # one that was refused is not there
            body.over = True
            _end(body)
            self._let_go(number)

    def _let_go(self, number: int) -> None:
        body = self._bodies[number]
        if body.ended and body.over:
            os.waitpid(body.pid, 0)
            del self._bodies[number]

    def _tell(self, **message: int | str) -> None:
        with suppress(OSError):  # a run that is gone: the next look says so
            self._run.send(json.dumps(message).encode())

    def _be(self, number: int, job: str, out: int, lifeline: int, *held: int) -> NoReturn:
        """Be the process of a body, as if Python had been started for it; the parent's side is left behind."""
        code = 1
        try:
            os.setsid()
            self._tell(body=number, pid=os.getpid())  # from here, for only now has it a group of its own
            self._run.close()
            for body in self._bodies.values():
                if not body.ended:
                    os.close(body.pidfd)
            for stream in (1, 2):
                os.dup2(out, stream)
            os.close(out)
            for fd in (lifeline, *held):
                os.set_inheritable(fd, True)
            os.chdir(Path(job).parent)
            sys.argv = [child_process.__file__, job, str(lifeline)]
            retitle(interpreter.command("-m", child_process.__name__, job, str(lifeline)))
            if "numpy.random" in sys.modules:
                sys.modules["numpy.random"].seed()  # one would draw what its sibling draws
            if os.read(lifeline, 32) == child_process.go(os.getpid()):
                code = _exit_code(job, lifeline)
        except BaseException:
            traceback.print_exc()
        finally:
            leave(code)


class LoadedCode:
    """The project's code in this process, which must be what lies in its files."""

    def __init__(self, since: int) -> None:
        """`since` is the time (Unix, ns) before which nothing was loaded."""
        self._since, self._files, self._seen = since, dict[str, Stamp](), set[str]()
        libraries = (sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib"))
        self._libraries = tuple({f"{folder}/" for folder in libraries})

    def prepare(self, job: str) -> str:
        """Load what the job's step is declared in, and read the code that it reaches; "edited" if it cannot be had as
        it is now."""
        if not self.edited():
            with suppress(Exception):  # the body meets it too, and says so
                child_process.prepare(Path(job))
        return "edited" if self.edited() else ""

    def edited(self) -> bool:
        """A file is not what it was when it was read."""
        for module in self._new():
            file = getattr(module, "__file__", None)
            if file and (source_code.is_project(module.__name__) or not file.startswith(self._libraries)):
                self._files[file] = stamp(file)
        changed = (now for file, was in self._files.items() if (now := stamp(file)) != was or now[0] > self._since)
        return any(True for _ in changed) or source_code.edited()

    def _new(self) -> Iterator[ModuleType]:
        names = sys.modules.keys() - self._seen
        self._seen |= names
        yield from (module for name in names if (module := sys.modules.get(name)) is not None)


def load(modules: Iterable[str]) -> None:
    """Import what is there of these modules, to be shared with the forks."""
    quiet = {name: value for name, value in QUIET.items() if name not in os.environ}
    os.environ.update(quiet)
    for name in modules:
        with suppress(Exception):  # a body that needs it says so
            import_module(name)
    for name in quiet:
        del os.environ[name]
    gc.collect()


def forkable() -> bool:
    """No thread runs beside this one, which a fork would stop half way, and no device is in use."""
    for _ in range(20):
        if len(os.listdir("/proc/self/task")) == 1:
            return not any(link.startswith(DEVICES) for link in _open_files())
        pid = os.fork()  # libraries that know of forks end their threads before one: OpenBLAS
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        time.sleep(0.005)
    return False


def _open_files() -> Iterator[str]:
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            yield os.readlink(f"/proc/self/fd/{fd}")


def _end(body: Body) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(body.pid, signal.SIGKILL)


def _exit_code(job: str, lifeline: int) -> int:
    """The exit code of a body, as Python's own would be."""
    try:
        return child_process.main(job, str(lifeline))
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        traceback.print_exc()
        return 128 + signal.SIGINT


def leave(code: int) -> NoReturn:
    """End this process as Python does, threads waited for and buffers written, but without taking it apart: that would
    touch, and so copy, all that is shared."""
    for end in (threading._shutdown, atexit._run_exitfuncs, gc.collect):  # type: ignore[attr-defined]
        with suppress(Exception):
            end()
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    ctypes.CDLL(None).fflush(None)
    os._exit(code & 0xFF)


def retitle(words: Sequence[str]) -> None:
    """Have `ps` show these words, as far as there is room where the process's own were."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end = int(fields[45]), int(fields[46])
    line = b"\0".join(os.fsencode(word) for word in words)[: end - begin - 1]
    ctypes.memmove(begin, line.ljust(end - begin, b"\0"), end - begin)


def main(run: str, since: str, *modules: str) -> NoReturn:
    """Serve the run at the other end of a socket that this process was given."""
    with socket.socket(fileno=int(run)) as connection:
        Server(connection, int(since), (module for module in modules if module.strip())).serve()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
