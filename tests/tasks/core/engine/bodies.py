"""Steps whose bodies do what a place has to cope with."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from conf.schema.base import Conf
from tasks.core.artifact import Artifact
from tasks.core.errors import DataError
from tasks.core.events import Event, result, tell, warn
from tasks.core.step import Cpu, step
from tasks.core.workdir import Workdir


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
