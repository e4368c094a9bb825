"""Many calls of one step in few task runs of Prefect: a task run costs more than many a shard takes.

Each call of a group keeps its own key, lease, work directory, retries, outcome, error and log; the task run alone is
shared, and says how many were cached and made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed

from tasks.core.engine.workspace import Job
from tasks.core.errors import FromzeroError, Transient, from_exception
from tasks.core.services import final_states
from tasks.core.store.lease import stopping

ALONE = 200
"""Calls of one step up to which each has a task run of its own."""
THREADS = 32
"""Threads that carry task runs, each of which works its group off in order."""
RUNS = THREADS
"""Task runs that more calls share."""


def grouped(jobs: list[Job]) -> list[list[Job]]:
    """The jobs of each task run: neighbours, in groups of about equal size."""
    if len(jobs) <= ALONE or jobs[0].call.step.effect:
        return [[job] for job in jobs]
    runs = min(RUNS, len(jobs))
    bounds = [len(jobs) * run // runs for run in range(runs + 1)]
    return [jobs[begin:end] for begin, end in pairwise(bounds)]


def label_of(jobs: list[Job]) -> str:
    """How a task run is called: as its call, or by what is in its group."""
    if len(jobs) == 1:
        return jobs[0].call.label
    first, last = (job.call.shard or job.call.about or job.key[:8] for job in (jobs[0], jobs[-1]))
    return f"{jobs[0].call.step.name}[{len(jobs)} shards, {first} to {last}]"


def labelled(log: Callable[..., None], label: str) -> Callable[..., None]:
    """A log of one of a group's bodies in that of the task run."""
    return lambda text, *values: log(f"%s: {text}", label, *values)


def work_off(jobs: Sequence[Job], carry_one: Callable[[Job], object]) -> State[Any]:
    """Carry a group out, one after another; the state in which its task run ends. Raises, once all others are through,
    what names those that failed; what `carry_one` raises is the job's error."""
    for job in jobs:
        if stopping.is_set():
            break
        try:
            carry_one(job)
        except Exception as error:
            job.error = job.error or from_exception(error)
    if stopping.is_set() and any(job.outcome.state == "skipped" for job in jobs):
        return interrupted(next((job.error for job in jobs if isinstance(job.error, Transient)), None))
    count = {state: sum(job.outcome.state == state for job in jobs) for state in ("cached", "completed")}
    said = f"{count['cached']} cached, {count['completed']} made"
    if failed := [job for job in jobs if job.error is not None]:
        raise together(failed, f"{len(failed)} of {len(jobs)} failed, {said}")
    return Completed(name="Completed" if count["completed"] else "Cached", message=said)


def interrupted(error: FromzeroError | None) -> State[Any]:
    """How a task run ends whose run is stopping."""
    said = str(error) if error is not None else ""
    return Cancelled(message=said if said.startswith("interrupted") else final_states.GO_ON)


def together(failed: Sequence[Job], title: str) -> FromzeroError:
    """An error of the first one's kind that names all of them."""
    first = failed[0].error
    assert first is not None
    return type(first)("\n  ".join([title, *(f"{job.call.label}: {job.error}" for job in failed)]))
