"""A Prefect work pool: whatever machine serves it carries bodies out, each as a run of the small flow `carry`.

Prefect finds a worker, and says when one is lost; retries, keys and leases are the run's alone.
"""

from __future__ import annotations

import json
import os
import time
from functools import cache
from typing import Any

from tasks.core.engine.job_file import JobFile
from tasks.core.engine.launcher import Launcher
from tasks.core.engine.remote.caller import Remote, Sent
from tasks.core.engine.remote.carrier import store_given
from tasks.core.errors import ChildKilled, FromzeroError, HostError, StepError
from tasks.core.services import prefect_api, servers
from tasks.core.store.open import home

DEFAULT = "fromzero-steps"
"""The work pool of `engine.places: {…: pool}`."""
FLOW = "carry"
"""The flow whose deployment in a pool has the pool's name."""
LOOK_EVERY = 3.0
"""Seconds between looks at the state of a flow run."""
PARENT_LIMIT = 10.0
"""Seconds to wait for the step's task run before its body is a run by itself."""
OVER = ("COMPLETED", "FAILED", "CRASHED")
GIVEN_UP = ("CANCELLING", "CANCELLED")


class Carrying(Sent):
    """A run of the flow `carry`."""

    def __init__(self, url: str, run: str, pool: str) -> None:
        self._url, self._run, self._pool = url, run, pool
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
        return None

    def waits(self) -> str:
        """See `Sent`."""
        return (
            f"waits for a worker of the work pool {self._pool}: `fromzero up --pool {self._pool}` on a machine that "
            "sees the store starts one"
        )

    def withdraw(self, dead: bool) -> None:
        """See `Sent`; Prefect knows then that it is over."""
        state = {"type": "CRASHED", "name": "Crashed", "message": "no sign of life: its worker is gone"}
        if not dead:
            state = {"type": "CANCELLED", "name": "Cancelled", "message": "the step needs it no longer"}
        kind = prefect_api.ask(self._url, f"flow_runs/{self._run}")["state"]["type"]
        if kind in ("SCHEDULED", "PENDING", "PAUSED") or (dead and kind in ("RUNNING", "CANCELLING")):
            prefect_api.ask(self._url, f"flow_runs/{self._run}/set_state", {"state": state, "force": True})


class Pool(Remote):
    """One work pool."""

    def __init__(self, name: str = DEFAULT) -> None:
        super().__init__()
        self.name = name

    def check(self) -> None:
        """See `Launcher`."""
        self._deployment(_url(), f"engine.places names the work pool {self.name}")

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
        asked = {
            "name": job.entry.partition(":")[2],
            "parameters": {"artifact": job.artifact, "ticket": ticket, "store": store_given()},
            "job_variables": {name: value for name, value in _variables(job).items() if name in known},
            "state": {"type": "SCHEDULED", "name": "Scheduled"},
        }
        run = _created(url, f"deployments/{deployment['id']}/create_flow_run", asked, context.get("task_run"))
        return Carrying(url, run["id"], self.name)


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
