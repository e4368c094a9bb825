"""What Prefect has to know of a run in the end: made sure of by the run itself, else by whoever comes after it.

Prefect's client sends the states of task runs as events, which the server takes in at its own pace: one that is stopped
or killed meanwhile loses them. So a run asks at its end what is there, and tells what is not.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tasks.core import liveness
from tasks.core.errors import FromzeroError, Transient
from tasks.core.services import prefect_api, servers

ENDED = ("COMPLETED", "FAILED", "CANCELLED", "CRASHED")
"""The types of states in which a run, or a task run, stays."""
OPEN = ("SCHEDULED", "PENDING", "RUNNING", "PAUSED", "CANCELLING")
"""All others."""
LOOK_EVERY = (0.05, 0.1, 0.2, 0.5)
"""Seconds between looks whether all is there, the last for as long as it takes."""
STALL = 10.0
"""Seconds without any news in the server's database after which the rest is told directly."""
AWAY = 60.0
"""Seconds that a server which does not answer is waited for: it is started again meanwhile."""
PAGE = 200
"""Task runs in one answer, at most: Prefect's own limit."""
GO_ON = "interrupted: what is made stays made; run again to go on"
"""What Prefect shows of an interrupted run."""
GONE = {"type": "CRASHED", "name": "Crashed", "message": "its process is gone; the next run goes on where it was"}
"""The state of what nobody is at any more."""


@dataclass(frozen=True)
class TaskRun:
    """A task run as the process that had it knows it."""

    id: str
    name: str
    task: str
    """Prefect's key of its task."""
    state: Mapping[str, Any]
    """Its final state: type, name, message."""


def confirm(url: str, run: str, tasks: list[TaskRun], away: float = AWAY) -> int:
    """Wait until the server's database has these ended task runs of a flow run; tell what does not come.

    Returns how many had to be told. Raises `Transient` if the server does not answer for `away` seconds.
    """
    if _complete(url, [task.id for task in tasks], away):
        return 0
    found = _states(url, run)
    late = [task for task in tasks if found.get(task.id) not in ENDED]
    for task in late:
        tell(url, run, task, known=task.id in found)
    return len(late)


def _complete(url: str, tasks: list[str], away: float) -> bool:
    """Whether these task runs have ended in the database; False once nothing has come for a while."""
    wanted = {"task_runs": {"id": {"any_": tasks}, "state": {"type": {"any_": list(ENDED)}}}}
    pauses, seen = iter(LOOK_EVERY), -1
    answered = news = time.monotonic()
    while True:
        try:
            found = int(prefect_api.ask(url, "task_runs/count", wanted))
            answered = time.monotonic()
        except Transient:
            if time.monotonic() - answered > away:
                raise
            found, news = seen, time.monotonic()
        if found >= len(tasks):
            return True
        if found != seen:
            seen, news = found, time.monotonic()
        elif time.monotonic() - news > STALL:
            return False
        time.sleep(next(pauses, LOOK_EVERY[-1]))


def _states(url: str, run: str, *types: str) -> dict[str, str]:
    """The task runs of a flow run in the database, and the types of their states; only those of `types` if given."""
    found: dict[str, str] = {}
    wanted: dict[str, Any] = {"flow_runs": {"id": {"any_": [run]}}, "limit": PAGE, "sort": "ID_DESC"}
    if types:
        wanted["task_runs"] = {"state": {"type": {"any_": list(types)}}}
    while page := prefect_api.ask(url, "task_runs/filter", wanted | {"offset": len(found)}):
        found |= {task["id"]: task["state_type"] for task in page}
        if len(page) < PAGE:
            break
    return found


def tell(url: str, run: str, task: TaskRun, known: bool) -> None:
    """Bring a task run into its final state, making it if the server does not know it."""
    if not known:
        about = {"id": task.id, "name": task.name, "task_key": task.task, "dynamic_key": task.id, "flow_run_id": run}
        prefect_api.ask(url, "task_runs/", about)
    prefect_api.ask(url, f"task_runs/{task.id}/set_state", {"state": dict(task.state), "force": True})


def ended(url: str, run: str) -> bool:
    """Whether a flow run has come to its end in the database, or its worker is about to say so."""
    found = prefect_api.ask(url, f"flow_runs/{run}")
    return found is None or found["state_type"] in (*ENDED, "CANCELLING")


def database(home: Path, url: str) -> str:
    """Which of Prefect's databases an API leads to: the home's own, on whatever port, or that of a server."""
    return "home" if servers.serves(home, url) else url


def the_dead(home: Path, url: str, say: Callable[[str], None] = lambda text: None) -> list[str]:
    """Tell Prefect of the runs of this home whose process is gone; the ids of those that it now knows to have ended.

    They, and what they were at, are as they said they were, else Crashed; the place of a crashed one in its deployment
    is free. Runs of another server, and of another machine that lives, are left alone.
    """
    settled, here = list[str](), database(home, url)
    for about in liveness.dead(home):
        if about.get("database", here) != here:
            continue
        owed = about.get("owed") or {}
        _end(url, about["run"], owed.get("state") or GONE, [TaskRun(**task) for task in owed.get("tasks", [])])
        liveness.forget(home, about["run"])
        say(f"{about.get('name') or about['run']} had vanished: Prefect knows now")
        settled.append(about["run"])
    return settled


def the_taken(home: Path, url: str, before: datetime) -> None:
    """Runs that a worker which is gone had taken before that time, and that have not begun, have crashed."""
    living = {run["run"] for run in liveness.living(home)}
    state = GONE | {"message": "its worker was gone before it began"}
    for run in prefect_api.flow_runs(url, "PENDING", "CANCELLING"):
        taken = datetime.fromisoformat(run["state"]["timestamp"])
        if run["deployment_id"] and run["id"] not in living and taken < before:
            prefect_api.ask(url, f"flow_runs/{run['id']}/set_state", {"state": state, "force": True})


def again(url: str, runs: list[str]) -> None:
    """A second look at what is settled: the server may have had a dead run's last events still before it."""
    for run in runs:
        _end(url, run, GONE, [])


def _end(url: str, run: str, state: Mapping[str, Any], tasks: list[TaskRun]) -> None:
    """Bring a flow run and its task runs into final states, as far as they are not."""
    found = prefect_api.ask(url, f"flow_runs/{run}")
    if found is None:
        return
    if tasks:
        known = _states(url, run)
        for task in tasks:
            if known.get(task.id) not in ENDED:
                tell(url, run, task, known=task.id in known)
    for task_run in _states(url, run, *OPEN):
        prefect_api.ask(url, f"task_runs/{task_run}/set_state", {"state": GONE, "force": True})
    if found["state_type"] not in ENDED:
        prefect_api.ask(url, f"flow_runs/{run}/set_state", {"state": dict(state), "force": True})


def at_end(url: str, announced: liveness.Announced, run: str) -> None:
    """Withdraw a run that Prefect knows to have ended; any other stays announced, for whoever comes after it."""
    if announced.over:
        return
    try:
        told = announced.told and ended(url, run)
    except FromzeroError:
        told = False
    if told:
        announced.withdraw()
    else:
        announced.leave()
