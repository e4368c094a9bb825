"""The kinds of faults, and the run that each is injected into at a moment drawn for it."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from tests.chaos.rig import TOY_STEPS, Place, Rig
from tests.pipeline_process import Started
from tests.s3_proxy import Trouble

HANGS = 400.0
"""Seconds after which a run counts as one that does not end."""
TRAINS = {"tiny": "pretrain", "toy": "train"}
"""The step of each flow that trains a model."""


class Missed(Exception):
    """The run was over, or had nothing of the kind, before it could be hit."""


@dataclass
class Case:
    """One run, which something happens to."""

    rig: Rig
    place: Place
    flow: str
    chance: random.Random
    label: str = ""
    """The step at whose beginning, and the seconds after it, the fault comes."""
    after: float = 0.0
    run: Started = field(init=False)

    def begin(self, **env: str) -> None:
        """Forget some of what is made, and start a run that makes it again."""
        store = self.rig.stores[self.place.store]
        lost = list(TOY_STEPS)
        if self.flow == "tiny":
            known = {label.partition("[")[0] for label, digest in self.rig.digests["tiny", self.place.store] if digest}
            lost = ["pretrain", *self.chance.sample(sorted(known - {"pretrain"}), self.chance.randint(0, 1))]
        for step in lost:
            for manifest in list(store.manifests(step)):
                store.forget(step, manifest.key)
        labels = [label for label, _ in self.rig.digests[self.flow, self.place.store]]
        self.label = self.label or self.chance.choice([label for label in labels if label.partition("[")[0] in lost])
        trains = self.label in TRAINS.values()
        self.after = self.after or self.chance.uniform(0, (6 if self.flow == "tiny" else 3) if trains else 1)
        self.run = self.rig.begin(self.flow, self.place, **env)
        self.until(self.run.begun(self.label))
        end = time.monotonic() + self.after
        self.until(lambda: time.monotonic() > end)

    def until(self, condition: Callable[[], object]) -> object:
        """Wait for something while the run lives; raises `Missed` once it is over."""
        end = time.monotonic() + HANGS
        while not (value := condition()):
            if self.run.process.poll() is not None or time.monotonic() > end:
                raise Missed
            time.sleep(0.01)
        return value

    def one_of(self, word: str, without: str = "\1") -> int:
        """A process that works for the rig, by a word of its command line."""

        def look() -> list[int]:
            found = self.rig.others()
            return [pid for pid, words in found.items() if word in words and without not in words]

        found = self.until(look)
        assert isinstance(found, list)
        return int(self.chance.choice(found))

    def wait(self, seconds: float) -> None:
        """Until the run is over, at most so long."""
        with suppress(subprocess.TimeoutExpired):
            self.run.process.wait(seconds)


def send(pid: int, number: signal.Signals) -> None:
    """A signal to a process that was there a moment ago."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        raise Missed from None


Find = Callable[[Case], list[int]]
Strike = Callable[[Case], None]


def signalled(find: Find, number: signal.Signals, stays: float = 0.0) -> Strike:
    """A signal to processes; those that are stopped go on after up to `stays` seconds, at least half of them."""

    def strike(case: Case) -> None:
        pids = find(case)
        send(pids[0], number)
        for pid in pids[1:]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        if number == signal.SIGSTOP:
            time.sleep(case.chance.uniform(stays / 2, stays))
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    return strike


def the_run(case: Case) -> list[int]:
    return [case.run.process.pid]


def run_and_all(case: Case) -> list[int]:
    below = psutil.Process(case.run.process.pid).children(recursive=True)
    return [case.run.process.pid, *(process.pid for process in below)]


def a_body(case: Case) -> list[int]:
    return [case.one_of("tasks.core.engine.child_process")]


def a_fork_server(case: Case) -> list[int]:
    return [case.one_of("fork_server")]


def a_rank(case: Case) -> list[int]:
    return [case.one_of("tasks.pretrain.trainer.pretrain_worker", "tasks.training.cluster.elastic")]


def a_worker(case: Case) -> list[int]:
    """The machine that carries the body out: everything on it, or the worker alone."""
    busy = case.until(lambda: [worker for worker in case.rig.workers if worker.busy()])
    assert isinstance(busy, list)
    return [process.pid for process in busy[0].tree()]


def only_a_worker(case: Case) -> list[int]:
    return a_worker(case)[:1]


def service(name: str) -> Find:
    """A server of `up`, or who keeps them."""

    def find(case: Case) -> list[int]:
        found = case.rig.service(name)
        if found is None:
            raise Missed
        below = found.children(recursive=True) if name != "keeper" else []
        return [found.pid, *(process.pid for process in below)]

    return find


def postgres(case: Case) -> list[int]:
    server = psutil.Process(case.rig.postgres.pid)
    return [server.pid, *(process.pid for process in server.children())]


def a_connection(case: Case) -> list[int]:
    """A process of Postgres that serves a connection of the home's databases."""
    found = [p.pid for p in psutil.Process(case.rig.postgres.pid).children() if "127.0.0.1" in " ".join(p.cmdline())]
    if not found:
        raise Missed
    return [case.chance.choice(found)]


def s3(case: Case) -> list[int]:
    return [case.rig.s3.pid]


def postgres_again(case: Case) -> None:
    case.rig.postgres.stop()
    time.sleep(case.chance.uniform(0, 4))
    case.rig.postgres.start()


def s3_again(case: Case) -> None:
    case.rig.s3.kill()
    time.sleep(case.chance.uniform(0, 4))
    case.rig.s3.start()


def troubled(trouble: Trouble, longest: float = 40.0) -> Strike:
    """S3 is not what it should be until the run is over, or for a while."""

    def strike(case: Case) -> None:
        case.rig.proxy.trouble = trouble
        before = case.rig.proxy.hit
        try:
            case.wait(longest)
        finally:
            case.rig.proxy.trouble = Trouble()
        if case.rig.proxy.hit == before:
            raise Missed

    return strike


def disk_full(case: Case) -> None:
    """The disk of the home leaves so little until the run is over, or for a while."""
    disk = case.rig.home.parent
    ballast, leave = disk / "ballast", case.chance.choice([0, 20_000, 300_000])
    try:
        with ballast.open("wb", buffering=0) as file, suppress(OSError):  # others write meanwhile
            while (free := shutil.disk_usage(disk).free) > leave:
                file.write(bytes(min(free - leave, 1 << 22)))
        case.wait(30)
    finally:
        ballast.unlink(missing_ok=True)


def clock(hours: float) -> Strike:
    """The clock of the run and its bodies jumps by so much, and stays so."""

    def strike(case: Case) -> None:
        case.rig.shift(hours)
        case.wait(HANGS)

    return strike


def two_runs(case: Case) -> None:
    """A second run comes, and one of the two is killed: the other one is what counts."""
    second = case.rig.begin(case.flow, case.place)
    case.until(lambda: "waiting for" in second.said or "> " in second.said or second.process.poll() is not None)
    victims = [case.run, second]
    case.chance.shuffle(victims)
    victim, case.run = victims
    send(victim.process.pid, signal.SIGKILL)
    victim.process.wait()


@dataclass(frozen=True)
class Kind:
    """A kind of fault, and where it can happen."""

    name: str
    strike: Strike
    places: tuple[str, ...] = ("local", "bucket", "pool", "ray", "ranks")
    flows: tuple[str, ...] = ("tiny", "toy")
    at: dict[str, str] = field(default_factory=dict)
    """The step of each flow that it comes at; any of those that are made, if nothing is said."""
    clock: bool = False
    """The run has a clock that can be shifted."""
    long: bool = False
    """It takes minutes: rarely drawn."""


KILL, TERM, STOP = signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP
HERE = ("local", "bucket", "ranks")
BUCKET = ("bucket", "pool")
KINDS = [
    Kind("SIGKILL of the run", signalled(the_run, KILL)),
    Kind("SIGTERM of the run", signalled(the_run, TERM)),
    Kind("SIGSTOP of the run for seconds", signalled(the_run, STOP, 12)),
    Kind("SIGSTOP of the run beyond its lease", signalled(the_run, STOP, 90), BUCKET, long=True),
    Kind("SIGKILL of the run and its bodies", signalled(run_and_all, KILL), HERE),
    Kind("SIGKILL of a body", signalled(a_body, KILL)),
    Kind("SIGSTOP of a body for seconds", signalled(a_body, STOP, 8)),
    Kind("SIGKILL of a fork server", signalled(a_fork_server, KILL), HERE),
    Kind("SIGKILL of a rank", signalled(a_rank, KILL), (*HERE, "pool"), ("tiny",), TRAINS),
    Kind("SIGTERM of a rank", signalled(a_rank, TERM), (*HERE, "pool"), ("tiny",), TRAINS),
    Kind("SIGSTOP of a rank for seconds", signalled(a_rank, STOP, 8), (*HERE, "pool"), ("tiny",), TRAINS),
    Kind("SIGKILL of a worker's machine", signalled(a_worker, KILL), ("pool",), at=TRAINS),
    Kind("SIGTERM of a worker", signalled(only_a_worker, TERM), ("pool",), at=TRAINS),
    Kind("SIGKILL of a worker", signalled(only_a_worker, KILL), ("pool",), at=TRAINS),
    Kind("SIGSTOP of a worker's machine", signalled(a_worker, STOP, 90), ("pool",), at=TRAINS, long=True),
    Kind("loss of a Ray node", lambda case: case.rig.lose_ray_node(), ("ray",), ("toy",), {"toy": "make[a]"}),
    Kind("SIGKILL of Prefect's server", signalled(service("prefect"), KILL)),
    Kind("SIGTERM of Prefect's server", signalled(service("prefect"), TERM)),
    Kind("SIGSTOP of Prefect's server for seconds", signalled(service("prefect"), STOP, 12)),
    Kind("SIGKILL of the keeper", signalled(service("keeper"), KILL)),
    Kind(
        "SIGKILL of MLflow's server",
        signalled(service("mlflow"), KILL),
        ("local", "bucket", "pool", "ranks"),
        ("tiny",),
    ),
    Kind("SIGTERM of MLflow's server", signalled(service("mlflow"), TERM), (*HERE, "pool"), ("tiny",)),
    Kind("SIGSTOP of MLflow's server for seconds", signalled(service("mlflow"), STOP, 12), HERE, ("tiny",)),
    Kind("Postgres stopped at once, and started", postgres_again),
    Kind("SIGKILL of a Postgres process", signalled(a_connection, KILL)),
    Kind("SIGSTOP of Postgres for seconds", signalled(postgres, STOP, 12)),
    Kind("SIGKILL of S3, and started", s3_again, BUCKET),
    Kind("SIGSTOP of S3 for seconds", signalled(s3, STOP, 12), BUCKET),
    Kind("slow S3", troubled(Trouble("slow", 1.0, 0.6)), BUCKET),
    Kind("failing S3", troubled(Trouble("failing", 0.25)), BUCKET),
    Kind("S3 that breaks answers off", troubled(Trouble("truncating", 0.25)), BUCKET),
    Kind("full disk", disk_full),
    Kind("clock that jumps ahead by hours", clock(3), ("local", "bucket", "ranks"), clock=True),
    Kind("clock that jumps back by hours", clock(-3), ("local", "bucket", "ranks"), clock=True),
    Kind("two runs at once, one of them killed", two_runs),
]
