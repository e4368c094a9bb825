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
from tasks.core.engine.device_slots import DeviceSlots
from tasks.core.engine.job_file import JobFile
from tasks.core.engine.launcher import GRACE
from tasks.core.engine.remote.carrier import LOOK_EVERY, NO_JOB, read_job, same_step
from tasks.core.errors import FromzeroError, HostError, Transient
from tasks.core.step import Resources
from tasks.core.store.lease import stopping
from tasks.core.store.store import Store


class Joining:
    """Takes part on this machine."""

    def __init__(self, store: Store, artifact: str, ticket: str, number: int) -> None:
        """`artifact` is STEP/KEY of what is made, `ticket` the attempt, `number` tells this machine from the others."""
        self._channel, self._name = Channel(store.backend, artifact, ticket), f"node-{number}"
        self._step, _, self._key = artifact.partition("/")
        self._beat = 0
        self.evicted = False
        """This machine is wanted for something else."""

    def evict(self) -> None:
        """Leave, saved; the run asks another machine. May be called by a signal."""
        self.evicted = True
        stopping.set()

    def carry(self) -> str:
        """Do it; what became of it, in words. Raises what the store raises."""
        found = read_job(self._channel)
        if found is None:
            return NO_JOB
        job, beside = found
        watch = threading.Thread(target=self._watch, args=(beside["silent"],), daemon=True)
        watch.start()
        wrong, said = "", "done"
        try:
            self._take_part(job, same_step(job, beside["versions"]).joins)
        except HostError as error:
            wrong = said = str(error)
        except Transient:
            said = "was needed no longer before it had a device"
        finally:
            stopping.set()
            watch.join()
        self._tell({"error": wrong})
        return "was told to leave" if self.evicted else said

    def _take_part(self, job: JobFile, joins: str) -> None:
        with DeviceSlots().take(self._step, Resources(**job.resources), print) as taken:  # type: ignore[arg-type]
            environ = {**interpreter.environment(), **job.environ, **taken.environ}
            command = interpreter.command("-m", "tasks.core.engine.remote.joining", joins, self._key)
            child = subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, pass_fds=taken.fds)
            while child.poll() is None and not stopping.wait(LOOK_EVERY):
                continue
            child.terminate()
            try:
                child.wait(GRACE)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def _watch(self, silent: float) -> None:
        """Show that this machine lives, until it leaves or the run needs it no longer."""
        beat, heard = -1, time.monotonic()
        while True:
            try:
                self._tell()
                found = self._channel.read("run") or {"beat": beat, "stop": "kill"}
            except (FromzeroError, OSError):  # the store is away for a moment, or the run is gone
                found = {"beat": beat, "stop": ""}
            if found["beat"] != beat:
                beat, heard = found["beat"], time.monotonic()
            if found["stop"] or time.monotonic() - heard > silent:
                stopping.set()
            if stopping.wait(BEAT):
                return

    def _tell(self, ended: dict[str, Any] | None = None) -> None:
        self._beat += 1
        self._channel.write(self._name, {"beat": self._beat, "host": platform.node(), "ended": ended})


def main(entry: str, key: str) -> None:
    """Take part by a step's own function, in a process that ends with its parent."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    module, _, name = entry.partition(":")
    getattr(import_module(module), name)(lambda line: print(line, flush=True), key=key)


def _end_with_parent() -> None:
    sys.stdin.buffer.read()  # nobody writes to it; it is closed when the parent is gone
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main(*sys.argv[1:])
