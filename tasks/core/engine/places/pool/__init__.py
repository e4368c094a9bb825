"""A Prefect work pool: whatever machine serves it carries bodies out, each as a run of the small flow `carry`.

Prefect finds a worker, and says when one is lost; retries, keys and leases are the run's alone.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from typing import Any

from tasks.core.engine.channel import DEAD, Channel
from tasks.core.engine.job_file import JobFile
from tasks.core.engine.launcher import Launcher
from tasks.core.engine.remote.caller import Remote, Sent
from tasks.core.engine.remote.carrier import store_given
from tasks.core.errors import ChildKilled, FromzeroError, HostError, StepError, Transient
from tasks.core.services import prefect_api, servers
from tasks.core.store.open import home, open_store

DEFAULT = "fromzero-steps"
"""The work pool of `engine.places: {…: pool}`."""
FLOW = "carry"
"""The flow whose deployment in a pool has the pool's name."""
LOOK_EVERY = 3.0
"""Seconds between looks at the state of a flow run."""
LOST_AFTER = 60.0
"""Seconds that a worker has to tell Prefect of the end of a body whose run is over: more than `SILENT` and `GRACE`."""
UNSEEN = 120.0
"""Seconds after a worker has taken a run that a process which gives no sign of life counts as gone with its worker:
Prefect leaves such a run to it for ever."""
PARENT_LIMIT = 10.0
"""Seconds to wait for the step's task run before its body is a run by itself."""
TAKEN = ("PENDING", "RUNNING")
"""States of a flow run that a worker has taken."""
OVER = ("COMPLETED", "FAILED", "CRASHED")
GIVEN_UP = ("CANCELLING", "CANCELLED")
WAITING = ("SCHEDULED", "PENDING", "PAUSED")


class Carrying(Sent):
    """A run of the flow `carry`, with those of the other machines that take part."""

    def __init__(self, url: str, run: str, pool: str, processes: bool, others: Others) -> None:
        """With `processes` its worker carries it out itself: nothing of a body outlives it."""
        self._url, self._run, self._pool, self._processes, self._others = url, run, pool, processes, others
        self._taken: float | None = None
        self._lost = False
        self._state: dict[str, Any] = {"type": "SCHEDULED", "name": "Scheduled"}
        self._looked = time.monotonic()

    def _look(self, now: bool) -> str:
        if now or time.monotonic() - self._looked > LOOK_EVERY:
            found = prefect_api.ask(self._url, f"flow_runs/{self._run}")
            self._state = found["state"] if found else {"type": "CRASHED", "name": "deleted"}
            self._looked = time.monotonic()
        return str(self._state["type"])

    def gone(self, now: bool = False) -> FromzeroError | None:
        """See `Sent`."""
        kind, said = self._look(now), self._state.get("message") or ""
        if kind in GIVEN_UP:
            return StepError(f"its run in the work pool {self._pool} was cancelled in Prefect")
        if kind in OVER:
            return ChildKilled(f"its run in the work pool {self._pool} has ended ({self._state['name']}): {said}")
        if kind in TAKEN and self._taken is None:
            self._taken = time.monotonic()
        if now or not self._processes or self._taken is None or time.monotonic() - self._taken < UNSEEN:
            return None
        self._lost = True
        return ChildKilled(f"the worker of the work pool {self._pool} that had taken it gives no sign of life")

    def waits(self) -> str:
        """See `Sent`."""
        return (
            f"waits for a worker of the work pool {self._pool}: `fromzero up --pool {self._pool}` on a machine that "
            "sees the store starts one"
        )

    def tend(self) -> None:
        """See `Sent`."""
        self._others.tend()

    def withdraw(self, dead: bool) -> None:
        """See `Sent`; Prefect knows then that it is over. The others see that for themselves."""
        dead = dead or self._lost
        self._others.withdraw()
        kind = prefect_api.ask(self._url, f"flow_runs/{self._run}")["state"]["type"]
        if dead and kind in (*WAITING, "RUNNING", "CANCELLING"):
            _end(self._url, self._run, "CRASHED", "no sign of life: its worker is gone")
        elif kind in WAITING:
            _end(self._url, self._run, "CANCELLED", "the step needs it no longer")


@dataclass
class Other:
    """A run by which one more machine takes part, and its last sign of life."""

    number: int
    run: str
    beat: int = 0
    since: float = field(default_factory=time.monotonic)


class Others:
    """The machines that take part in one body beside its first: each that is lost or leaves is replaced."""

    def __init__(
        self, url: str, channel: Channel, count: int, create: Callable[[int], str], processes: bool = True
    ) -> None:
        """`create` asks for the run of the n-th (from 1) that takes part, and gives its id; with `processes` none
        outlives its worker."""
        self._url, self._channel, self._count, self._create, self._processes = url, channel, count, create, processes
        self._there, self._asked, self._looked = list[Other](), 0, 0.0

    def tend(self) -> None:
        """Ask for those that are missing; raises `HostError` for one that cannot take part."""
        if not self._count or time.monotonic() - self._looked < LOOK_EVERY:
            return
        self._looked = time.monotonic()
        with suppress(Transient):  # store or server are away for a moment
            self._there = [other for other in self._there if not self._lost(other)]
            while len(self._there) < self._count:
                run = self._create(self._asked + 1)
                self._asked += 1
                self._there.append(Other(self._asked, run))

    def _lost(self, other: Other) -> bool:
        found = self._channel.read(f"node-{other.number}")
        if found is None:  # it has not begun
            known = prefect_api.ask(self._url, f"flow_runs/{other.run}")
            state = known["state"]["type"] if known else "CRASHED"
            if state not in TAKEN:
                other.since = time.monotonic()
            elif self._processes and time.monotonic() - other.since > UNSEEN:
                _end(self._url, other.run, "CRASHED", "no sign of life: its worker is gone")
                return True
            return state in (*OVER, *GIVEN_UP)
        if found["ended"] is not None:
            if found["ended"]["error"]:
                raise HostError(found["ended"]["error"])
            return True
        if found["beat"] != other.beat:
            other.beat, other.since = found["beat"], time.monotonic()
        if time.monotonic() - other.since <= DEAD:
            return False
        _end(self._url, other.run, "CRASHED", "no sign of life: its worker is gone")
        return True

    def withdraw(self) -> None:
        """Nobody is to begin any more."""
        for other in self._there:
            known = prefect_api.ask(self._url, f"flow_runs/{other.run}")
            if known is not None and known["state"]["type"] in WAITING:
                _end(self._url, other.run, "CANCELLED", "the step needs it no longer")


def end_lost(url: str) -> None:
    """Mark those runs of `carry` as crashed whose own run has been over for a while: when it and their worker died at
    once, nobody else does."""
    left = {"type": {"any_": [*WAITING, "RUNNING", "CANCELLING"]}}
    asked = {"flows": {"name": {"any_": [FLOW]}}, "flow_runs": {"state": left}, "limit": 200}
    for run in prefect_api.ask(url, "flow_runs/filter", asked):
        task = prefect_api.ask(url, f"task_runs/{run['parent_task_run_id']}") if run["parent_task_run_id"] else None
        above = prefect_api.ask(url, f"flow_runs/{task['flow_run_id']}") if task else None
        if above and above["end_time"] and time.time() - _timestamp(above["end_time"]) > LOST_AFTER:
            _end(url, run["id"], "CRASHED", "its run is over, and its worker gone")


def _timestamp(when: str) -> float:
    return datetime.fromisoformat(when.replace("Z", "+00:00")).timestamp()


def _end(url: str, run: str, kind: str, said: str) -> None:
    state = {"type": kind, "name": kind.capitalize(), "message": said}
    prefect_api.ask(url, f"flow_runs/{run}/set_state", {"state": state, "force": True})


class Pool(Remote):
    """One work pool."""

    gathers = True

    def __init__(self, name: str = DEFAULT) -> None:
        super().__init__()
        self.name = name

    def check(self) -> None:
        """See `Launcher`."""
        url = _url()
        self._deployment(url, f"engine.places names the work pool {self.name}")
        assert url is not None
        end_lost(url)

    def _deployment(self, url: str | None, what: str) -> dict[str, Any]:
        if url is None:
            raise HostError(
                f"{what}, whose workers need a Prefect server that stays: `fromzero up` first, or let PREFECT_API_URL "
                "name one"
            )
        found = prefect_api.ask(url, f"deployments/name/{FLOW}/{self.name}")
        if found is None:
            raise HostError(
                f"{what}, which nobody serves: `fromzero up --pool {self.name}` on a machine that sees the store, with "
                f"PREFECT_API_URL={url}"
            )
        return dict(found)

    def send(self, job: JobFile, ticket: str) -> Sent:
        """See `Remote`."""
        url = _url()
        deployment = self._deployment(url, f"the work pool {self.name}")
        assert url is not None
        pool = prefect_api.ask(url, f"work_pools/{self.name}") or {}
        known = pool.get("base_job_template", {}).get("variables", {}).get("properties", {})
        context = json.loads(job.environ.get("FROMZERO_CONTEXT", "{}"))

        def created(node: int) -> str:
            asked = {
                "name": job.entry.partition(":")[2] + (f"-node-{node}" if node else ""),
                "parameters": {"artifact": job.artifact, "ticket": ticket, "store": store_given(), "node": node},
                "job_variables": {name: value for name, value in _variables(job).items() if name in known},
                "state": {"type": "SCHEDULED", "name": "Scheduled"},
            }
            path = f"deployments/{deployment['id']}/create_flow_run"
            return str(_created(url, path, asked, context.get("task_run"))["id"])

        channel = Channel(open_store().backend, job.artifact, ticket)
        processes = pool.get("type") == "process"
        others = Others(url, channel, int(job.resources["nodes"]) - 1, created, processes)
        return Carrying(url, created(0), self.name, processes, others)


def _created(url: str, path: str, asked: dict[str, Any], parent: str | None) -> dict[str, Any]:
    """The new flow run, below the task run of the step once Prefect has that in its database, which takes a moment."""
    deadline = time.monotonic() + PARENT_LIMIT
    while parent is not None and time.monotonic() < deadline:
        try:
            return dict(prefect_api.ask(url, path, asked | {"parent_task_run_id": parent}))
        except HostError as error:
            if "answers 409" not in str(error):
                raise
            time.sleep(0.3)
    return dict(prefect_api.ask(url, path, asked))


def _variables(job: JobFile) -> dict[str, Any]:
    """What a step asks for, under the names that templates of work pools may have for it."""
    cpu, memory, gpu = (job.resources[name] for name in ("cpu", "memory_gb", "gpu"))
    return {"cpu": str(cpu), "memory": f"{memory * 1000:.0f}M", "gpu": gpu, "mem_limit": f"{memory * 1000:.0f}m"}


def _url() -> str | None:
    """The API of the server that workers and this run share."""
    found = servers.running(home())
    up = found["url"] if found is not None and servers.wanted(home()) is not None else None
    return os.environ.get("PREFECT_API_URL") or up


@cache
def place(name: str) -> Launcher:
    """The pool of that name."""
    return Pool(name)


PLACE: Launcher = Pool()
