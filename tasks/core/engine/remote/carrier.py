"""The other side of `caller`: one process that carries a body out on the machine where it was started.

It brings the inputs, takes a GPU if one is asked for, starts the body as a child process of its own, sends its output,
keeps its checkpoints in the store, and ends it when the run asks for that, or is gone.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from tasks.core.engine import child_process
from tasks.core.engine.channel import BEAT, Channel
from tasks.core.engine.device_slots import WithDevices
from tasks.core.engine.job_file import JobFile, decode, encode
from tasks.core.engine.launcher import GRACE, Listener
from tasks.core.engine.placing import Placing
from tasks.core.engine.remote.same_versions import differences, versions
from tasks.core.engine.system_metrics import Sampler
from tasks.core.engine.workspace import Workspace
from tasks.core.errors import FromzeroError, HostError, from_exception
from tasks.core.plan.fingerprint import fingerprint
from tasks.core.small_files import clear, write_atomically
from tasks.core.step import Resources, Step
from tasks.core.store.lease import stopping
from tasks.core.store.local import LocalBackend
from tasks.core.store.open import home, open_store, store_conf
from tasks.core.store.store import Store
from tasks.core.workdir import ABOUT, METRICS_FILE, SYSTEM_FILE, Workdir

LOOK_EVERY = 0.5
"""Seconds between looks for what the run asks, and between two pieces of output."""
LOG = "log"
"""Stands for the run's log in messages of this side."""
NO_JOB = "no such job: it is over, or this machine does not see the store of the run (FROMZERO_STORE)"
TRIES = 4
"""How often the end of a body is told, with growing pauses, to a store that does not answer."""


class RunsLease:
    """The run's lease as a carrier sees it: held for as long as the run shows that it lives."""

    fds: tuple[int, ...] = ()

    def __init__(self, epoch: int) -> None:
        self.epoch, self.lost = epoch, threading.Event()

    def held(self) -> bool:
        """False once the run is gone."""
        return not self.lost.is_set()

    def release(self) -> None:
        """It is the run's."""

    def __enter__(self) -> RunsLease:
        return self

    def __exit__(self, *_: object) -> None:
        return None


class Told:
    """What a body puts out, in pieces as they come, and that its carrier lives."""

    def __init__(self, channel: Channel, work: Workdir, dead: float) -> None:
        """`dead` tells for how many seconds the carrier is to be waited for after its last sign of life."""
        self._channel, self._work = channel, work
        self._about = {"host": platform.node(), "pid": os.getpid(), "dead": dead}
        self._shared = isinstance(channel.backend, LocalBackend)
        self._lock, self._waiting = threading.Lock(), bytearray()
        self._pieces, self._sent = dict[str, int](), dict[str, int]()
        self._beat, self._last = 0, 0.0

    def put(self, data: bytes) -> None:
        """More output."""
        with self._lock:
            self._waiting += data

    def say(self, text: str) -> None:
        """A line of ours among the output."""
        self.put(f"{text}\n".encode())

    def send(self, ended: dict[str, Any] | None = None) -> None:
        """Send what is new; every `BEAT` seconds also that nothing is."""
        with self._lock:
            data = bytes(self._waiting)
        if data:
            self._piece("output", data)
            with self._lock:  # only now: what could not be sent is sent the next time
                del self._waiting[: len(data)]
        for name in () if self._shared else (METRICS_FILE, SYSTEM_FILE):
            self._rows(name)
        if data or ended is not None or time.monotonic() - self._last >= BEAT:
            self._beat += 1
            said = {"beat": self._beat, "pieces": self._pieces, "progress": self._work.progress, "ended": ended}
            self._channel.write("body", said | self._about)
            self._last = time.monotonic()

    def _piece(self, stream: str, data: bytes) -> None:
        number = self._pieces.get(stream, 0)
        self._channel.add(stream, number, data)
        self._pieces[stream] = number + 1

    def _rows(self, name: str) -> None:
        """New whole rows of a file of metrics, after the place where they belong in it."""
        file = self._work.scratch / name
        if not file.exists():
            return
        with file.open("rb") as opened:
            start = min(self._sent.get(name, 0), opened.seek(0, os.SEEK_END))
            opened.seek(start)
            data = opened.read()
        if data := data[: data.rfind(b"\n") + 1]:
            self._piece(name, b"%d\n" % start + data)
            self._sent[name] = start + len(data)


@dataclass(frozen=True)
class _Relay(Listener):
    """Sends the body's lines on as they are: the run tells events and text apart."""

    put: Callable[[bytes], None] = field(kw_only=True)

    def follow(self, output: Iterable[bytes], word: str | None) -> None:
        """See `Listener`."""
        for line in output:
            self.put(line)


class Carrier:
    """Carries one body out."""

    def __init__(self, store: Store, artifact: str, ticket: str) -> None:
        """`artifact` is STEP/KEY of what the body makes."""
        self._store, self._artifact = store, artifact
        self._channel = Channel(store.backend, artifact, ticket)
        self._placing = Placing()
        self._over, self._asked = threading.Event(), ""
        self.evicted = False
        """This machine is wanted for something else: the body saved and left."""

    def evict(self) -> None:
        """End the body, saved if it can in time; the run has it carried out elsewhere. May be called by a signal."""
        self.evicted = True
        self._end("save")

    def carry(self) -> str:
        """Do it; what became of it, in words. Raises what the store raises."""
        found = read_job(self._channel)
        if found is None:
            return NO_JOB
        job, beside = found
        lease = RunsLease(job.epoch)
        work = self._store.backend.open_work(self._artifact, lease)
        work.make()
        told = Told(self._channel, work, beside["dead"])
        told.send()
        if not self._lives(beside["silent"]):
            return "the run is gone"
        watch = threading.Thread(target=self._watch, args=(lease, told, beside["silent"]), daemon=True)
        watch.start()
        try:
            ended = self._ended(replace(job, root=str(work.root.absolute())), beside, work, lease, told)
        finally:
            self._over.set()
            watch.join()
        if not lease.held():
            return "the run is gone"
        for pause in range(TRIES):
            try:
                told.send(ended)
                break
            except (FromzeroError, OSError):
                if pause + 1 == TRIES:
                    raise
                time.sleep(2.0**pause)
        return str(ended["error"]) or "done"

    def _lives(self, silent: float) -> bool:
        """The run answers a sign of life of ours with one of its own, and wants the body."""
        before, deadline = (self._channel.read("run") or {}).get("beat"), time.monotonic() + silent
        while (found := self._channel.read("run")) is not None and not found["stop"] and time.monotonic() < deadline:
            if found["beat"] != before:
                return True
            time.sleep(LOOK_EVERY / 2)
        return False

    def _ended(
        self, job: JobFile, beside: dict[str, Any], work: Workdir, lease: RunsLease, told: Told
    ) -> dict[str, Any]:
        """How it ended, for the run."""
        ended: dict[str, Any] = {"code": 0, "status": None, "kind": "", "error": "", "kept": None}
        job.status_file.unlink(missing_ok=True)
        try:
            same_step(job, beside["versions"])
            if beside["about"] is not None:
                write_atomically(work.scratch / ABOUT, beside["about"].encode())
            workspace = Workspace(self._store, told.say, self._placing)
            with workspace.saving(self._artifact, work, lease):
                self._run(job, work, lease, told, workspace)
            if not isinstance(self._store.backend, LocalBackend):
                ended["kept"] = asdict(self._store.keep(work, self._artifact))
        except Exception as error:
            said = str(from_exception(error)).replace(str(work.root / LOG), beside["log"])
            ended |= {"kind": type(from_exception(error)).__name__, "error": said}
        if self.evicted and ended["error"]:
            ended |= {"kind": "ChildKilled", "error": f"the worker on {platform.node()} was told to stop"}
        elif job.status_file.exists():  # what the body said of itself, and where it failed
            ended |= {"status": job.status_file.read_text(), "kind": ""}
        return ended

    def _run(self, job: JobFile, work: Workdir, lease: RunsLease, told: Told, workspace: Workspace) -> None:
        inputs = [encode(item) for item in workspace.brought(tuple(map(decode, job.inputs)))]
        for folder in (work.content, work.aux):
            clear(folder)
        work.make()
        with ExitStack() as held:
            wanted = Resources(**job.resources)  # type: ignore[arg-type]
            taken = held.enter_context(self._placing.devices.take(self._artifact.partition("/")[0], wanted, told.say))
            begun = held.enter_context(Sampler(work.system_file)).watch if job.track else None
            sent = replace(job, inputs=inputs, environ=job.environ | taken.environ)
            sent.write()
            listener = _Relay(work.root / LOG, told.say, lambda event: None, begun, put=told.put)
            child_process.run_child(sent, WithDevices(lease, taken), listener)

    def _watch(self, lease: RunsLease, told: Told, silent: float) -> None:
        """Until the body's end: pass its output on, and end it when the run asks, or is gone."""
        beat, heard = -1, time.monotonic()
        while not self._over.wait(LOOK_EVERY):
            try:
                told.send()
                found = self._channel.read("run") or {"beat": beat, "stop": "kill"}
            except (FromzeroError, OSError):
                found = {"beat": beat, "stop": ""}
            if found["beat"] != beat:
                beat, heard = found["beat"], time.monotonic()
            if found["stop"] and found["stop"] != self._asked:
                self._end(found["stop"])
            if time.monotonic() - heard > silent and lease.held():
                lease.lost.set()
                self._end("kill")

    def _end(self, how: str) -> None:
        """End the body in a thread of its own: the run goes on hearing of it meanwhile."""
        self._asked = how
        stopping.set()
        grace = GRACE if how == "save" else 0.0
        threading.Thread(target=child_process.end_all, args=(grace,), daemon=True).start()


def read_job(channel: Channel) -> tuple[JobFile, dict[str, Any]] | None:
    """What a run asks for, and what it says beside; None if it does not, or no longer."""
    raw = channel.read("job")
    if not raw:
        return None
    beside = {name: raw.pop(name) for name in ("versions", "about", "silent", "dead", "log")}
    return JobFile(**raw), beside


def same_step(job: JobFile, wanted: dict[str, str]) -> Step:
    """The step as this machine has it; raises `HostError` if it, or one of the `wanted` versions, is not the run's."""
    where = f"the worker on {platform.node()}"
    if wrong := differences(wanted, versions(job.libraries)):
        raise HostError(f"{where} differs from the run: {wrong}: install the same on both")
    step, conf = child_process.asked(job)
    if fingerprint(step.of(conf)).digest != job.fingerprint:
        raise HostError(
            f"{where} has other code of {step.name} than the run: bring it to the same commit, and start it again"
        )
    return step


def store_given() -> dict[str, Any]:
    """The run's store, as carriers are told of it."""
    conf = store_conf()
    if conf.kind == "local":
        conf = conf.model_copy(update={"path": conf.path or str(home() / "store")})
    return conf.model_dump(mode="json")


def store_here(given: dict[str, Any] | None) -> Store:
    """The store on this machine: the one that its FROMZERO_STORE names, else the run's.

    What it keeps of a bucket lies in a folder of its own: on a run's own machine it must not be the run's.
    """
    if given is not None:
        os.environ.setdefault("FROMZERO_STORE", json.dumps(given))
    if store_conf().kind == "s3":
        os.environ["FROMZERO_HOME"] = str(home() / "worker")
    return open_store()


def carry(artifact: str, ticket: str, store: dict[str, Any] | None) -> str:
    """Carry out the body that a run asks for, in a process that carries out others before and after."""
    before = {name: os.environ.get(name) for name in ("FROMZERO_HOME", "FROMZERO_STORE")}
    stopping.clear()
    try:
        return Carrier(store_here(store), artifact, ticket).carry()
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def main(artifact: str, ticket: str) -> None:
    """Carry the body out that a run asks for, in a process of its own, which SIGTERM evicts."""
    carrier = Carrier(store_here(None), artifact, ticket)
    signal.signal(signal.SIGTERM, lambda *_: carrier.evict())
    print(carrier.carry(), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
