"""The workspace in which one artifact is made: its work directory, its inputs, the child process, its checkpoints."""

from __future__ import annotations

import json
import os
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

from tasks.core.artifact import Artifact, Manifest
from tasks.core.engine.channel import fence
from tasks.core.engine.device_slots import WithDevices
from tasks.core.engine.job_file import JobFile
from tasks.core.engine.launcher import Listener
from tasks.core.engine.placing import Placing
from tasks.core.engine.system_metrics import Sampler
from tasks.core.errors import ArtifactError, FromzeroError, Transient
from tasks.core.events import Event
from tasks.core.plan.fingerprint import fingerprint
from tasks.core.plan.keys import artifacts_in
from tasks.core.small_files import clear, write_atomically
from tasks.core.step import Call, labelled
from tasks.core.store.lease import Lease, stopping
from tasks.core.store.store import Miss, Store
from tasks.core.workdir import ABOUT, Workdir

SAVE_EVERY = 5.0
"""Seconds between looks for a new checkpoint to keep off this machine."""
COUNT_EVERY = 5.0
"""Seconds between two times that what an attempt has taken is noted: at most so many are lost with a killed run."""
WAITING = {"OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE")}
"""Threads that wait sleep: spinning ones make training five times slower as soon as another process wants a core."""


class Report(Protocol):
    """Whoever shows a run to a person."""

    def started(self, label: str) -> None:
        """A step's body begins."""

    def line(self, label: str, text: str) -> None:
        """A step's child printed a line."""

    def event(self, label: str, event: Event) -> None:
        """A step told something."""

    def ended(self, outcome: Outcome) -> None:
        """A step is done, one way or another."""

    def ask(self, question: str) -> str:
        """Ask a person for `adopt` or `rerun`; raises `ConfigError` where nobody can answer."""


@dataclass
class Outcome:
    """What became of one call of a step."""

    step: str
    shard: str | None
    state: str = "skipped"
    """cached, completed, failed, skipped, refused, or waiting (for a person)."""
    key: str | None = None
    digest: str | None = None
    seconds: float = 0.0
    """For which it held cores, over all attempts: in this run and, on the same work directory, in runs before it."""
    attempts: int = 0
    """In this run and, if it made any, in runs before it on the same work directory."""
    stats: dict[str, Any] = field(default_factory=dict)
    inputs: tuple[dict[str, Any], ...] | None = None
    """What its artifact was made from, as references; None without an artifact."""
    message: str = ""
    warnings: list[dict[str, str]] = field(default_factory=list)
    """What the step's `warns` foretold; what it found itself is in its statistics."""

    @property
    def label(self) -> str:
        """STEP or STEP[SHARD]."""
        return labelled(self.step, self.shard)


@dataclass
class Job:
    """One call on its way: what its task's body needs."""

    call: Call
    key: str
    parts: dict[str, Any]
    outcome: Outcome
    over: Manifest | None = None
    """A whole artifact that is to be made again."""
    manifest: Manifest | None = None
    result: Any = None
    error: FromzeroError | None = None
    failures: int = 0
    progress: int = 0
    opened: bool = False
    """What earlier runs have taken is in the outcome."""

    @property
    def path(self) -> str:
        """STEP/KEY."""
        return f"{self.call.step.name}/{self.key}"

    def pause(self) -> float:
        """Seconds before the next attempt: exponential, up to the step's longest, with jitter; 0 before the first."""
        retry = self.call.step.retry
        wait = min(retry.longest, retry.delay * 2.0 ** (self.failures - 1))
        return random.uniform(0.5, 1.0) * wait if self.failures else 0.0


class Workspace:
    """Where one process makes artifacts; the engine decides which, and when again."""

    def __init__(self, store: Store, say: Callable[[str], None], placing: Placing) -> None:
        """`say` is told what people are to know."""
        self.store, self.say, self.placing = store, say, placing

    def cancel(self) -> None:
        """End all bodies everywhere, saved if they can in time."""
        stopping.set()
        enders = [threading.Thread(target=one.cancel) for one in self.placing.all()]
        for ender in enders:
            ender.start()
        for ender in enders:
            ender.join()

    def ready(self, work: Workdir, job: Job, start_over: Callable[[list[str]], bool]) -> None:
        """Empty content/ and aux/; start the scratch anew when it belongs to something else, else count its time too.

        `start_over` decides, told why, about the scratch of an expensive step that other code has begun.
        """
        fence(self.store.backend, job.path)
        about = {"over": job.over.attempt if job.over else None, "code": fingerprint(job.call.step).digest}
        note = work.scratch / ABOUT
        left = json.loads(note.read_bytes()) if note.exists() else about
        if left["over"] != about["over"] or (
            left["code"] != about["code"]
            and job.call.step.version
            and start_over(["since its work directory was begun"])
        ):
            forgotten = work.root / f"scratch-{uuid4().hex[:8]}"
            work.scratch.rename(forgotten)
            clear(forgotten)
            self.store.backend.forget_work(job.path)
        clear(work.content)
        clear(work.aux)
        work.kept = None
        work.make()
        write_atomically(note, json.dumps(about).encode())
        if not job.opened:
            seconds, attempts = work.spent
            job.outcome.seconds, job.outcome.attempts = seconds, job.outcome.attempts + attempts
            job.opened = True

    def brought(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """The same inputs with their files on this machine; those of one step are looked at together."""
        keys: dict[str, list[str]] = {}
        for artifact in artifacts_in(inputs):
            keys.setdefault(artifact.step, []).append(artifact.key)
        looked = {step: self.store.look_at(step, some) for step, some in keys.items()}
        return tuple(self._bring(item, looked) for item in inputs)

    def _bring(self, value: Any, looked: Mapping[str, Mapping[str, Manifest | Miss]]) -> Any:
        if isinstance(value, tuple):
            return tuple(self._bring(item, looked) for item in value)
        if not isinstance(value, Artifact) or value.root is not None:
            return value
        name = f"{value.step}/{value.key[:12]}"
        found = looked[value.step][value.key]
        if isinstance(found, Miss):
            raise Transient(f"{name} was lost while the run was under way: {found.reason}")
        try:
            brought = self.store.artifact(found)
        except ArtifactError as damaged:
            with self.store.lock(f"{value.step}/{value.key}"):  # only now read: or it would be a hit again
                self.store.forget(value.step, value.key)
            raise ArtifactError(f"{name} is damaged and was removed: {damaged}") from damaged
        brought = brought.part(value.part_name) if value.part_name else brought
        if brought.digest != value.digest:
            raise Transient(f"{name} was made anew while the run was under way: it has another digest now")
        return brought

    @contextmanager
    def saving(self, path: str, work: Workdir, lease: Lease) -> Iterator[None]:
        """Keep new checkpoints where another machine finds them, while inside and once at the end."""
        ended = threading.Event()

        def save() -> None:
            kept = work.progress
            while not ended.wait(SAVE_EVERY):
                reached = work.progress
                if reached != kept and keep():
                    kept = reached

        def keep() -> bool:
            try:
                self.store.backend.save_work(path, work, lease)
            except (FromzeroError, OSError) as error:
                self.say(f"the checkpoint of {path[: path.find('/') + 9]} is on this machine only: {error}")
                return False
            return True

        saver = threading.Thread(target=save, daemon=True)
        saver.start()
        try:
            yield
        except BaseException:
            if work.progress and lease.held():
                keep()
            raise
        finally:
            ended.set()
            saver.join()

    @contextmanager
    def _counting(self, job: Job, work: Workdir) -> Iterator[None]:
        """Count the time inside as the outcome's, noted in the scratch now and then, so that the next run knows it."""
        before, began, ended = job.outcome.seconds, time.monotonic(), threading.Event()

        def count() -> None:
            job.outcome.seconds = before + time.monotonic() - began
            with suppress(OSError):  # a full disk must not end the step here
                work.spent = job.outcome.seconds, job.outcome.attempts

        def keep_counting() -> None:
            while not ended.wait(COUNT_EVERY):
                count()

        counter = threading.Thread(target=keep_counting, daemon=True)
        counter.start()
        try:
            yield
        finally:
            ended.set()
            counter.join()
            count()

    def run(
        self,
        job: Job,
        work: Workdir,
        lease: Lease,
        log: Path,
        context: dict[str, Any],
        say: Callable[[str], None],
        hear: Callable[[Event], object] = lambda event: None,
    ) -> dict[str, Any]:
        """Run the step's function in the step's place, on its inputs; returns its stats."""
        step = job.call.step
        place = self.placing.of(step)
        inputs = job.call.inputs if place.fetches else self.brought(job.call.inputs)
        threads = str(min(step.resources.cpu, self.placing.slots.total) if place.here else step.resources.cpu)
        names = ("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
        environ = {**WAITING, **dict.fromkeys(names, threads), "FROMZERO_CONTEXT": json.dumps(context)}
        with ExitStack() as held:
            if place.here:
                taken = held.enter_context(self.placing.devices.take(job.call.label, step.resources, say))
                held.enter_context(self.placing.slots.take(step.resources))
                lease, environ = WithDevices(lease, taken), environ | taken.environ
            if stopping.is_set():
                raise Transient("the run is stopping")
            sent = JobFile.of(job.call, inputs, work, environ, job.path, lease.epoch)
            sent.write()
            held.enter_context(self._counting(job, work))  # not the wait for the slots: nobody pays for that
            sampler = held.enter_context(Sampler(work.system_file)) if step.track and place.here else None
            return place.run(sent, lease, Listener(log, say, hear, sampler.watch if sampler else None))

    def keep_curves(self, work: Workdir) -> None:
        """Leave the curves with the artifact, whatever becomes of MLflow."""
        for file in (work.metrics_file, work.system_file):
            if file.exists():
                shutil.copyfile(file, work.aux / file.name)
