"""The run's side of bodies on other machines: a job goes out through the store, output and statistics come back.

`Remote` is a place but for how a carrier is started: by a worker of a Prefect pool, by Ray. Whatever starts it, what it
needs is the store and the job's name; keys, leases and retries stay with the run.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from tasks.core import events
from tasks.core.engine.channel import AT_HAND, BEAT, DEAD, SILENT, Channel
from tasks.core.engine.job_file import JobFile
from tasks.core.engine.launcher import GRACE, Limits, Listener
from tasks.core.engine.remote.same_versions import versions
from tasks.core.errors import KINDS, ChildKilled, FromzeroError, Transient
from tasks.core.small_files import write_atomically
from tasks.core.store.lease import Lease, stopping
from tasks.core.store.open import open_store
from tasks.core.store.store import Backend
from tasks.core.workdir import ABOUT, Kept, Workdir

LOOK_EVERY = 0.5
"""Seconds between looks for what the body has said."""
TOLD_AFTER = 15.0
"""Seconds without a carrier after which people are told that the step waits for one."""


class Sent(ABC):
    """A carrier that was asked for."""

    @abstractmethod
    def gone(self, now: bool = False) -> FromzeroError | None:
        """Why nobody will carry the body out, or goes on with it; None while somebody may. Looked up anew if it has to
        be so `now`."""

    @abstractmethod
    def waits(self) -> str:
        """What it waits for, as long as nobody has begun."""

    def tend(self) -> None:
        """Look after what else it needs, while the body goes on; raises what is to end it."""
        return

    @abstractmethod
    def withdraw(self, dead: bool) -> None:
        """Nobody is to begin with it any more; whoever had is `dead`, for it gave no sign of life."""


@dataclass
class Body:
    """One body on its way, from the run's side."""

    channel: Channel
    silent: float
    dead: float
    stop: str = ""
    """save: it is to save and leave; kill: to leave at once."""
    beats: int = 0
    told: float = 0.0
    pieces: dict[str, int] = field(default_factory=dict)
    """How many of each stream were taken."""

    def tell(self, now: bool = False) -> None:
        """A sign of life, and what is asked of the body."""
        if now or time.monotonic() - self.told >= BEAT:
            self.beats += 1
            self.channel.write("run", {"beat": self.beats, "stop": self.stop})
            self.told = time.monotonic()


class Remote(ABC):
    """A place whose bodies are carried out by another process, on any machine that sees the store."""

    here, fetches, gathers = False, True, False
    silent, dead = SILENT, DEAD
    """Seconds without a sign of life after which a carrier ends its body, and a run does without the carrier."""

    def __init__(self) -> None:
        self._bodies: dict[str, Body] = {}

    @abstractmethod
    def send(self, job: JobFile, ticket: str) -> Sent:
        """Ask for a carrier of `carrier.carry(path, ticket)`."""

    @abstractmethod
    def check(self) -> None:
        """See `Launcher`."""

    def run(self, job: JobFile, lease: Lease, listener: Listener) -> dict[str, Any]:
        """See `Launcher`."""
        backend, ticket = open_store().backend, uuid4().hex[:12]
        body = self._bodies[ticket] = Body(Channel(backend, job.artifact, ticket), self.silent, self.dead)
        work = Workdir(Path(job.root))
        try:
            about = work.scratch / ABOUT
            beside = {
                "versions": versions(job.libraries),
                "about": about.read_text() if about.exists() else None,
                "log": str(listener.log),
                "silent": self.silent,
                "dead": self.dead,
            }
            body.channel.write("job", asdict(job) | {"root": ""} | beside)
            body.tell(now=True)
            sent = self.send(job, ticket)
            followed = _Following(body, sent, job, lease, listener, work)
            try:
                ended = followed.until_the_end()
            except BaseException:
                with suppress(FromzeroError):
                    sent.withdraw(followed.dead)
                raise
            finally:
                if followed.over:  # else somebody may still be at work, for whom `fence` waits
                    with suppress(FromzeroError):
                        body.channel.remove()
            if ended["kind"] == ChildKilled.__name__ and not body.stop:  # by whom?
                why = sent.gone(now=True)
                if why is not None and not isinstance(why, Transient):
                    raise why
            return _came_back(ended, job, backend, work, listener)
        finally:
            del self._bodies[ticket]

    def cancel(self, grace: float = GRACE) -> None:
        """See `Launcher`."""
        for body in list(self._bodies.values()):
            body.stop = "save"
            with suppress(FromzeroError):
                body.tell(now=True)
        deadline = time.monotonic() + grace
        while self._bodies and time.monotonic() < deadline:
            time.sleep(0.1)
        for body in list(self._bodies.values()):
            body.stop = "kill"
            with suppress(FromzeroError):
                body.tell(now=True)


class _Following:
    """Follows one body until its end."""

    def __init__(self, body: Body, sent: Sent, job: JobFile, lease: Lease, listener: Listener, work: Workdir) -> None:
        self._body, self._sent, self._job, self._work = body, sent, job, work
        self._lease, self._listener = lease, listener
        self._limits = Limits(None, lease, listener.log)  # its time counts from when it begins
        self._why: FromzeroError | None = None
        self._lines = _Lines()
        self.dead = self.over = False
        """It gave no sign of life for too long; nobody is at work any more."""
        self._seen, self._beat, self._since = False, -1, time.monotonic()

    def until_the_end(self) -> dict[str, Any]:
        """What the carrier says of the end; raises why there is none."""
        word = self._job.environ.get(events.WORD)
        reader = threading.Thread(target=self._listener.follow, args=(self._lines, word), daemon=True)
        reader.start()
        told = False
        try:
            while True:
                ended = self._look()
                if ended is not None:
                    if self._why is not None:
                        raise self._why
                    return ended
                if not self._seen and not told and time.monotonic() - self._since > TOLD_AFTER:
                    self._listener.say(self._sent.waits())
                    told = True
                self._body.tell()
                time.sleep(LOOK_EVERY)
        finally:
            self._lines.close()
            reader.join(5)

    def _look(self) -> dict[str, Any] | None:
        found = self._body.channel.read("body")
        now = time.monotonic()
        if found is not None and found["beat"] != self._beat:
            if not self._seen:
                self._limits = Limits(self._job.timeout, self._lease, self._listener.log)
                self._body.tell(now=True)  # it waits for that, to know that the run lives
            self._seen, self._beat, self._since = True, found["beat"], now
            self._take(found)
            if found["ended"] is not None:
                self.over = True
                return dict(found["ended"])
        if self._why is None and (why := self._limits.passed() or self._untended()) is not None:
            self._why, self._body.stop = why, "save"
            self._body.tell(now=True)
        if stopping.is_set() and not self._body.stop:
            self._body.stop = "save"
            self._body.tell(now=True)
        if not self._seen and (self._body.stop or self._why):
            raise self._why or Transient("the run is stopping")
        if not self._seen and (gone := self._sent.gone()) is not None:
            raise self._why or gone
        if self._seen and now - self._since > self._body.dead:
            self.dead = self.over = True
            raise self._why or ChildKilled(
                f"the worker that carried it out gives no sign of life any more; its log: {self._listener.log}"
            )
        return None

    def _untended(self) -> FromzeroError | None:
        try:
            self._sent.tend()
        except FromzeroError as error:
            return error
        return None

    def _take(self, found: dict[str, Any]) -> None:
        """Everything that is new: lines, rows of metrics, how far its newest checkpoint is."""
        for stream, count in found["pieces"].items():
            for number in range(self._body.pieces.get(stream, 0), count):
                data = self._body.channel.piece(stream, number)
                if stream == "output":
                    self._lines.put(data)
                else:
                    _write_at(self._work.scratch / stream, data)
            self._body.pieces[stream] = count
        if found["progress"] > self._work.progress:
            self._work.progress = found["progress"]


class _Lines:
    """Lines of output, put in by one thread in pieces and taken out by another."""

    def __init__(self) -> None:
        self._pieces: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def put(self, data: bytes) -> None:
        self._pieces.put(data)

    def close(self) -> None:
        self._pieces.put(None)

    def __iter__(self) -> Iterator[bytes]:
        begun = b""
        while (data := self._pieces.get()) is not None:
            *whole, begun = (begun + data).split(b"\n")
            yield from (line + b"\n" for line in whole)
        if begun:
            yield begun


def _write_at(file: Path, piece: bytes) -> None:
    """Bytes of a file that another machine writes, at their place: an offset, a line end, the bytes."""
    offset, _, data = piece.partition(b"\n")
    with file.open("r+b" if file.exists() else "w+b") as opened:
        opened.truncate(int(offset))
        opened.seek(int(offset))
        opened.write(data)


def _came_back(
    ended: dict[str, Any], job: JobFile, backend: Backend, work: Workdir, listener: Listener
) -> dict[str, Any]:
    """The statistics of a body that has ended; its files are in the store, small ones also at hand for pictures."""
    if ended["kind"]:
        raise KINDS[ended["kind"]](ended["error"])
    if ended["kept"] is not None:
        kept = Kept.of(ended["kept"])
        small = tuple(file for file in kept.files if file.size <= AT_HAND)
        folder = backend.fetch(f"{job.artifact}/{kept.attempt}/", small)
        for file in small:
            target = work.root / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            os.link(folder / file.path, target)
        work.kept = kept
    if ended["status"] is not None:
        write_atomically(job.status_file, ended["status"].encode())
    return job.stats(ended["code"], listener.log)
