"""The task runs of one run in Prefect: which calls each carries, how a call is attempted and tried again, how it ended.

A call has a task run of its own, but for very many of one step, which share some (`grouped_tasks`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import wait
from typing import Any, Protocol

from prefect import Task
from prefect.cache_policies import NO_CACHE, CachePolicy
from prefect.client.schemas.objects import State
from prefect.futures import PrefectConcurrentFuture
from prefect.logging import get_run_logger
from prefect.runtime import task_run
from prefect.states import Completed
from prefect.transactions import get_transaction

from tasks.core.artifact import Manifest
from tasks.core.engine.grouped_tasks import interrupted, label_of, labelled, work_off
from tasks.core.engine.launcher import GRACE
from tasks.core.engine.prefect_store import ByKey, Locks, Records
from tasks.core.engine.step_runner import StepRunner
from tasks.core.engine.workspace import Job, Report
from tasks.core.errors import FromzeroError, Transient, from_exception
from tasks.core.events import Event
from tasks.core.services import final_states
from tasks.core.step import Step
from tasks.core.store.lease import stopping


class Host(Protocol):
    """The engine, as far as its task runs need it."""

    locks: Locks
    records: Records
    bodies: StepRunner
    report: Report

    def served(self, path: str) -> Manifest | None:
        """The artifact at STEP/KEY if it is a hit."""


class TaskRuns:
    """Everything that a run has submitted to Prefect."""

    def __init__(self, engine: Host) -> None:
        self._engine = engine
        self._tasks: dict[tuple[str, str], Task[..., Any]] = {}
        self._jobs: dict[str, list[Job]] = {}
        """Those of each task run, by its name."""
        self._submitted: list[tuple[str, str, PrefectConcurrentFuture[Any]]] = []
        """Name and task key of every task run, and its future."""

    def submit(self, jobs: list[Job], parents: Sequence[PrefectConcurrentFuture[Any]]) -> PrefectConcurrentFuture[Any]:
        """One task run for these calls of a step, shown to come from `parents`."""
        name, step, alone = label_of(jobs), jobs[0].call.step, len(jobs) == 1
        self._jobs[name] = jobs
        kind = (step.name, "group" if not alone else "again" if jobs[0].over is not None else "")
        if kind not in self._tasks:
            self._tasks[kind] = self._task(step, kind[1] == "again") if alone else self._group(step)
        chosen = self._tasks[kind]
        given = (name, jobs[0].path) if alone else (name,)
        future = chosen.submit(*given, wait_for=parents)
        assert isinstance(future, PrefectConcurrentFuture)
        self._submitted.append((name, chosen.task_key, future))
        return future

    def ended(self) -> list[final_states.TaskRun]:
        """Every task run that has begun, and its final state; waits for those that stop just now."""
        begun = [call for call in self._submitted if not call[2].wrapped_future.cancel()]
        wait([future.wrapped_future for _, _, future in begun], GRACE)
        return [
            final_states.TaskRun(str(future.task_run_id), name, task, _final(future)) for name, task, future in begun
        ]

    def failed(self, path: str, error: Exception) -> FromzeroError:
        """Keep why the attempt at STEP/KEY failed, sorted into our tree."""
        known = from_exception(error)
        for job in [job for jobs in list(self._jobs.values()) for job in jobs]:
            if job.path == path:
                job.error = known
        return known

    def _task(self, step: Step, again: bool) -> Task[..., Any]:
        body = self._effect if step.effect else self._make
        policy: CachePolicy = (
            NO_CACHE if step.effect else ByKey(isolation_level="SERIALIZABLE", lock_manager=self._engine.locks)
        )

        def run(label: str, key: str) -> Any:
            try:
                return self._attempt(self._jobs[label][0], body)
            except Transient as error:
                if not stopping.is_set():
                    raise
                transaction = get_transaction()
                assert transaction is not None
                transaction.write_on_commit = False  # there is no result
                return interrupted(error)

        made: Task[..., Any] = Task(
            run,
            name=step.name,
            task_run_name="{label}",
            cache_policy=policy,
            refresh_cache=again,
            persist_result=not step.effect,
            result_serializer="json",
            cache_result_in_memory=False,
            retries=1000,
            retry_condition_fn=lambda task, run, state: self._may_retry(self._jobs[run.name][0]),
        )
        if not step.effect:
            made.result_storage = self._engine.records
        return made

    def _group(self, step: Step) -> Task[..., Any]:
        return Task(
            lambda label: work_off(self._jobs[label], self._in_group),
            name=step.name,
            task_run_name="{label}",
            cache_policy=NO_CACHE,
            persist_result=False,
        )

    def _in_group(self, job: Job) -> None:
        """What Prefect does for a task of its own: a hit is served, a miss made under its lease, and tried again."""
        if self._engine.served(job.path) is not None:
            job.outcome.state = "cached"
            return
        with self._engine.locks.held(job.path):
            while True:
                try:
                    self._attempt(job, self._make)
                    if job.outcome.state == "cached":  # another run has made it
                        job.outcome.attempts = 0
                    return
                except Transient:
                    if not self._may_retry(job):
                        raise

    def _make(self, job: Job) -> Any:
        log, own = get_run_logger().info, job.call.label in self._jobs
        return self._engine.bodies.make(job, str(task_run.id), log if own else labelled(log, job.call.label))

    def _effect(self, job: Job) -> State[Any]:
        name, message = self._engine.bodies.effect(job, str(task_run.id), get_run_logger().info)
        return Completed(name=name, message=message)

    def _attempt(self, job: Job, body: Callable[[Job], Any]) -> Any:
        """One attempt in the task's thread: its error is kept, sorted into our tree."""
        if stopping.wait(job.pause()):
            raise Transient("the run is stopping")
        job.error = None
        job.outcome.attempts += 1
        try:
            return body(job)
        except Exception as error:
            job.error = from_exception(error)
            if job.error is error:
                raise
            raise job.error from error

    def _may_retry(self, job: Job) -> bool:
        """Infrastructure errors only, as often as the step allows since its last newer checkpoint."""
        if not isinstance(job.error, Transient) or stopping.is_set():
            return False
        job.failures += 1
        again = job.failures <= job.call.step.retry.times
        if again:
            said = f"attempt {job.outcome.attempts} failed, trying again: {job.error}"
            self._engine.report.event(job.call.label, Event("notice", text=said))
            job.error = None
        return again


def _final(future: PrefectConcurrentFuture[Any]) -> dict[str, Any]:
    """The state in which a task run has ended, as JSON; of one that does not end, that nobody waits for it."""
    inner = future.wrapped_future
    if not inner.done():
        return final_states.GONE
    state = inner.result() if inner.exception() is None else None
    if not isinstance(state, State) or not state.is_final():
        return final_states.GONE
    return {"type": state.type.value, "name": state.name, "message": state.message}
