"""The seam between a run and the places where the bodies of its steps run: a job goes out, statistics come back.

Keys, cache, leases, retries and Prefect stay with the run; a place only carries a `JobFile` out. A place is a module in
places/ (or of another distribution, by an entry point) that has a `PLACE`, which is a `Launcher`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from tasks.core import events, plugins
from tasks.core.engine.job_file import JobFile
from tasks.core.errors import ChildKilled, ConfigError, FromzeroError, StepError, nearest
from tasks.core.events import Event
from tasks.core.store.lease import Lease
from tasks.core.urls import bare

PACKAGE, GROUP = "tasks.core.engine.places", "fromzero.places"
GRACE = 25.0
"""Seconds that a body has to save and leave after SIGTERM; under Prefect's own 30."""


class Launcher(Protocol):
    """A place. It is called from several threads at once."""

    here: bool
    """Its bodies run on this machine, whose cores, memory and GPUs they share."""
    fetches: bool
    """It has the inputs of its bodies from the store itself; else they are files that it finds where the job says."""

    gathers: bool
    """A body that wants several machines (`Resources.nodes`) gets them; else people start the others."""

    def check(self) -> None:
        """Raise `HostError`, with the fix, if no body could be carried out now; asked before a run begins."""

    def run(self, job: JobFile, lease: Lease, listener: Listener) -> dict[str, Any]:
        """Carry a job out whose file is written, and give its statistics; no process of it is left then.

        The listener gets the body's output while it runs. `Limits` are asked once a second: what they name ends the
        body, as `cancel` does. Raises what its status says (`JobFile.stats`), `ChildKilled` for one that ended without.
        """

    def cancel(self, grace: float = GRACE) -> None:
        """Ask all bodies at once to save and stop (SIGTERM), end those that have not after `grace` seconds; `run`
        returns or raises then."""


@dataclass(frozen=True)
class Listener:
    """The run's ear: what a body puts out goes to its log, to people, and as events to whoever shows them."""

    log: Path
    say: Callable[[str], None]
    hear: Callable[[Event], object]
    begun: Callable[[int], None] | None = None
    """Is told the body's process id, if it is one of this machine."""

    def follow(self, output: Iterable[bytes], word: str | None) -> None:
        """Take in the lines of a body's output as they come; `word` marks its events."""
        reading, file = events.Reading(word) if word else None, None
        with suppress(OSError):  # a log that cannot be written must not hold the body up
            self.log.parent.mkdir(parents=True, exist_ok=True)
            file = self.log.open("ab")
        for line in output:
            raw, event = reading.of(line) if reading is not None else (line, None)
            if text := bare(raw.decode(errors="replace")):  # a library may print the URL that it was given
                _write(file, text)
                self.say(text.rstrip())
            if event is not None:
                event = replace(event, text=bare(event.text))
                if event.kind != "progress":
                    _write(file, f"{event.said}\n")
                self.hear(event)
        if file is not None:
            with suppress(OSError):
                file.close()


class Limits:
    """What ends a body before it is done: its time, and the loss of the lease under which it works."""

    def __init__(self, timeout: float | None, lease: Lease, log: Path) -> None:
        self._timeout, self._lease, self._log = timeout, lease, log
        self._deadline = None if timeout is None else time.monotonic() + timeout

    def passed(self) -> FromzeroError | None:
        """Why the body must end now; None while it may go on."""
        if self._deadline is not None and time.monotonic() > self._deadline:
            return StepError(f"took longer than its {self._timeout:g} s; its log: {self._log}")
        if not self._lease.held():
            return ChildKilled(f"its lease was taken over by another run; its log: {self._log}")
        return None


def place(name: str) -> Launcher:
    """The place of that name: NAME, or NAME:WHICH where there are several of a kind; raises `ConfigError` if there is
    none."""
    known = plugins.names(PACKAGE, GROUP)
    kind, _, which = name.partition(":")
    if kind not in known:
        raise ConfigError(f"engine.places: there is no place {kind!r}{nearest(kind, known)}")
    found = plugins.module(PACKAGE, GROUP, kind)
    if not which:
        return cast("Launcher", found.PLACE)
    if not hasattr(found, "place"):
        raise ConfigError(f"engine.places: there is one place {kind} only: {kind}, not {name}")
    return cast("Launcher", found.place(which))


def _write(file: BinaryIO | None, text: str) -> None:
    if file is not None:
        with suppress(OSError):
            file.write(text.encode())
            file.flush()
