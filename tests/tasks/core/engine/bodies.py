"""Steps whose bodies do what a place has to cope with."""

from __future__ import annotations

import atexit
import os
import random
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from conf.schema.base import Conf
from tasks.core.artifact import Artifact
from tasks.core.errors import DataError
from tasks.core.events import Event, result, tell, warn
from tasks.core.step import Cpu, step
from tasks.core.workdir import Workdir

seen: list[int] = []
"""Of a body, to be found empty by the next."""


class BodyConf(Conf):
    """What is added."""

    add: int = 0
    """A number."""


@step(resources=Cpu(1, 0.5))
def add(made: Artifact, number: int, conf: BodyConf, work: Workdir) -> dict[str, Any]:
    """Adds up what it was given, and where it ran."""
    (work / "sum.txt").write_text((made / "text.txt").read_text() + str(number + conf.add))
    return {"sum": number + conf.add, "word": os.environ["A_WORD"], "group": os.getpgrp()}


@step()
def speak(lines: list[str], conf: None, work: Workdir) -> dict[str, Any]:
    """Prints, and tells."""
    for line in lines:
        print(line, flush=True)
    tell(Event("progress", 3, 9, "step", 1.0, 97_300.0))
    print("between", flush=True)
    result("came out: step 8/9")
    warn("see to it")
    return {}


@step()
def fail(what: str, conf: None, work: Workdir) -> dict[str, Any]:
    """Fails in one way or another."""
    if what == "data":
        raise DataError("the data are bad")
    if what == "disk":
        raise OSError(28, "No space left on device")
    if what == "bug":
        raise KeyError("nothing there")
    os.kill(os.getpid(), signal.SIGKILL)
    return {}


@step(timeout=10.0)
def stay(stubborn: bool, conf: None, work: Workdir) -> dict[str, Any]:
    """Stays for good, with a process of its own below it; saves at SIGTERM, if it is not stubborn."""
    below = os.fork()
    if below == 0:
        while True:
            time.sleep(60)

    def save(*_: object) -> None:
        if not stubborn:
            (work.scratch / "saved").touch()
            os._exit(3)

    signal.signal(signal.SIGTERM, save)
    (work.scratch / "below").write_text(str(below))
    Path(work.scratch / "there").touch()
    while True:
        time.sleep(60)


@step()
def surroundings(conf: None, work: Workdir) -> dict[str, Any]:
    """What a process finds around it."""
    handlers = {int(number): str(signal.getsignal(number)) for number in signal.valid_signals()}
    files = []
    for fd in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the one that reads the folder
            files.append(os.readlink(f"/proc/self/fd/{fd}").partition(":[")[0])
    return {
        "environ": {name: value for name, value in os.environ.items() if name != "FROMZERO_EVENTS"},
        "handlers": [handlers[number] for number in sorted(handlers)],
        "mask": [str(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, ())],
        "files": sorted(files),
        "standard": [os.readlink(f"/proc/self/fd/{fd}").partition(":[")[0] for fd in range(3)],
        "inheritable": [os.get_inheritable(fd) for fd in range(3)],
        "leads": [os.getpid() - os.getsid(0), os.getpid() - os.getpgrp()],
        "cwd": os.path.relpath(os.getcwd(), work.root),
        "buffered": [sys.stdout.line_buffering, sys.stdout.write_through, sys.stdout.encoding, sys.stdout.errors],
        "flags": str(sys.flags),
        "path": sys.path,
        "words": [os.path.basename(sys.argv[0]), os.path.relpath(sys.argv[1], work.root), len(sys.argv)],
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "title": open("/proc/self/cmdline").read().split("\0")[:5],
    }


@step(libraries=("numpy",))
def alone(conf: None, work: Workdir) -> dict[str, Any]:
    """Leaves traces in its process, and says what it found there and drew."""
    import numpy

    seen.append(os.getpid())
    os.environ["TRACES"] = os.environ.get("TRACES", "") + "x"
    drawn = [random.random(), float(numpy.random.random())]
    return {"pid": os.getpid(), "group": os.getpgrp(), "parent": os.getppid(), "seen": len(seen),
            "traces": os.environ["TRACES"], "drawn": drawn}  # fmt: skip


@step()
def leave_late(code: int, conf: None, work: Workdir) -> dict[str, Any]:
    """Is not done with its function: a thread, what was registered for the exit, and output without an end of line."""

    def late() -> None:
        time.sleep(0.5)
        (work.scratch / "thread").touch()

    threading.Thread(target=late).start()
    atexit.register((work.scratch / "exit").touch)
    os.fdopen(os.dup(1), "w", buffering=1000).write("unwritten")
    print("no end", end="")
    if code:
        sys.exit(code)
    return {}
