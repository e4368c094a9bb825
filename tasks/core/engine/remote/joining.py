"""One more machine in a body that wants several (`Resources.nodes`): it takes part until the run needs it no longer.

The first machine carries the body out (`carrier`); what the others do is the step's own (`Step.joins`), in a child
process that saves and leaves on SIGTERM. The run hears of each by an object beside those of the body: `node-N.json`.
"""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import threading
import time
from importlib import import_module
from typing import Any

from tasks.core import interpreter
from tasks.core.engine.channel import BEAT, Channel
from tasks.core.engine.job_file import JobFile
from tasks.core.engine.launcher import GRACE
from tasks.core.engine.placing import Placing
from tasks.core.engine.remote.carrier import LOOK_EVERY, check_same
from tasks.core.errors import FromzeroError, HostError
from tasks.core.step import Resources
from tasks.core.store.store import Store


class Joining:
    """Takes part on this machine."""

    def __init__(self, store: Store, artifact: str, ticket: str, number: int) -> None:
        """`artifact` is STEP/KEY of what is made, `ticket` the attempt, `number` tells this machine from the others."""
        self._channel, self._name = Channel(store.backend, artifact, ticket), f"node-{number}"
        self._artifact = artifact
        self._beat, self._told, self._heard = 0, 0.0, (-1, time.monotonic())
        self.evicted = False
        """This machine is wanted for something else."""

    def evict(self) -> None:
        """Leave, saved; the run asks another machine. May be called by a signal."""
        self.evicted = True

    def carry(self) -> str:
        """Do it; what became of it, in words. Raises what the store raises."""
        raw = self._channel.read("job")
        if not raw:
            return "no such job: it is over, or this machine does not see the store of the run (FROMZERO_STORE)"
        beside = {name: raw.pop(name) for name in ("versions", "about", "silent", "dead", "log")}
        job, silent = JobFile(**raw), float(beside["silent"])
        self._tell()
        try:
            check_same(job, beside["versions"])
            self._until_the_end(job, silent)
        except HostError as error:
            self._tell({"error": str(error)})
            return str(error)
        self._tell({"error": ""})
        return "was told to leave" if self.evicted else "done"

    def _until_the_end(self, job: JobFile, silent: float) -> None:
        wanted, step = Resources(**job.resources), self._artifact.partition("/")[0]  # type: ignore[arg-type]
        with Placing().devices.take(step, wanted, print) as taken:
            environ = {**interpreter.environment(), **job.environ, **taken.environ}
            command = interpreter.command("-m", "tasks.core.engine.remote.joining", job.joins, self._artifact)
            child = subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, pass_fds=taken.fds)
            try:
                while child.poll() is None and not self.evicted and self._wanted(silent):
                    time.sleep(LOOK_EVERY)
            finally:
                child.terminate()
                try:
                    child.wait(GRACE)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()

    def _wanted(self, silent: float) -> bool:
        """The run lives and goes on with the body."""
        try:
            self._tell()
            said = self._channel.read("run")
        except (FromzeroError, OSError):  # the store is away for a moment, or the run is gone
            return time.monotonic() - self._heard[1] < silent
        if said is None or said["stop"]:
            return False
        if said["beat"] != self._heard[0]:
            self._heard = said["beat"], time.monotonic()
        return time.monotonic() - self._heard[1] < silent

    def _tell(self, ended: dict[str, Any] | None = None) -> None:
        if ended is None and time.monotonic() - self._told < BEAT:
            return
        self._beat += 1
        self._channel.write(self._name, {"beat": self._beat, "host": platform.node(), "ended": ended})
        self._told = time.monotonic()


def main(entry: str, artifact: str) -> None:
    """Take part by a step's own function, in a process that ends with its parent."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    module, _, name = entry.partition(":")
    getattr(import_module(module), name)(lambda line: print(line, flush=True), artifact.partition("/")[2])


def _end_with_parent() -> None:
    sys.stdin.buffer.read()  # nobody writes to it; it is closed when the parent is gone
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main(*sys.argv[1:])
