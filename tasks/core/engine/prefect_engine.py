"""The interpreter that carries steps out: a Prefect flow whose tasks are the steps. Only this room knows Prefect.

`Engine` says what calls are to come to; task_runs has what carries them in Prefect, prefect_run the run around them,
prefect_store what Prefect needs of the store.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from prefect.client.base import PrefectHttpxAsyncClient, PrefectHttpxSyncClient
from prefect.client.schemas.objects import State
from prefect.futures import PrefectConcurrentFuture

from conf.schema.engine import EngineConf
from tasks.core import run_warnings
from tasks.core.artifact import Artifact, Manifest, sha256
from tasks.core.engine.grouped_tasks import grouped, together
from tasks.core.engine.placing import Placing
from tasks.core.engine.prefect_artifacts import progress_shown, publish
from tasks.core.engine.prefect_store import Locks, Records
from tasks.core.engine.publishing import Publisher
from tasks.core.engine.reporting import Pages, Run
from tasks.core.engine.step_runner import StepRunner, git_state, now
from tasks.core.engine.task_runs import TaskRuns
from tasks.core.engine.workspace import Job, Outcome, Report, Workspace
from tasks.core.errors import Conflict, FromzeroError, StepError
from tasks.core.events import Event
from tasks.core.liveness import Announced
from tasks.core.plan.keys import adopt, artifacts_in, code_changes, made_from
from tasks.core.plan.planner import Interpretation
from tasks.core.step import Call
from tasks.core.store.lease import Lease
from tasks.core.store.store import Miss, Store
from tasks.core.tracking.tracking import Tracking

WAKE_EVERY = 0.5
"""Seconds between looks for Ctrl-C: importing polars (MLflow does) makes waits without a limit deaf to it."""


for _client in (PrefectHttpxAsyncClient, PrefectHttpxSyncClient):
    # a new client fails at once where one that was connected before tries again: but our servers are started again
    _client._has_connected = property(lambda self: True, lambda self, value: None)  # type: ignore[assignment]


class Engine(Interpretation):
    """Carries steps out as Prefect tasks: cached by key, under a lease, their bodies in child processes."""

    def __init__(
        self, store: Store, home: Path, conf: EngineConf, report: Report,
        refresh: tuple[str, ...] = (), until: str | None = None, pages: Pages | None = None,
    ) -> None:  # fmt: skip
        """`conf` says how; `report` is told what happens; `pages` makes what people read in Prefect and MLflow."""
        super().__init__(store, refresh, until)
        self.home, self.conf, self.report, self.publisher = home, conf, report, Publisher(pages, publish)
        self.outcomes: list[Outcome] = []
        self.recipe, self.run_id, self.run_name = "", "", ""
        self.workspace = Workspace(store, lambda text: report.line("", text), Placing(conf))
        self.locks = Locks(self)
        self.records = Records()
        self.records._engine = self
        self.git = git_state()
        self.tracking: Tracking | None = None
        """MLflow's side of the run, from its first tracked step on."""
        self.bodies = StepRunner(self)
        self.task_runs = TaskRuns(self)
        self._futures: dict[str, tuple[int, PrefectConcurrentFuture[Any]]] = {}
        """By key: how many calls came before, and the future."""
        self._check: tuple[int, list[PrefectConcurrentFuture[Any]]] = (0, [])
        """The last step that blocks what comes after it."""
        self._whole: dict[str, Manifest] = {}
        self._hits: dict[str, Manifest] = {}
        self._effects: list[Job] = []
        self.announced: Announced | None = None
        """That this run lives, from its start on."""
        self.status = "FAILED"
        """How MLflow is to call the run's end."""

    def check_names(self) -> None:
        """See `Interpretation`; says which names in engine.places are of no step."""
        super().check_names()
        for said in self.workspace.placing.unknown(self.steps.values()):
            self.report.line("", said)

    # calls

    def carry_out(self, calls: list[Call]) -> list[Any]:
        """Submit independent calls, wait for all of them; raises the first failure after the others have ended."""
        self.steps |= {call.step.name: call.step for call in calls}
        jobs = [self._prepare(call) for call in calls]
        self._look_at(jobs)
        groups = grouped(jobs)
        futures = [self._submit(group) for group in groups]
        for future in futures:
            while not future.wrapped_future.done():
                future.wait(WAKE_EVERY)
            future.wait()
        results = [
            self._conclude(job, future.state, len(group) == 1)
            for group, future in zip(groups, futures, strict=True)
            for job in group
        ]
        if jobs[0].call.step.blocks:
            self._check = (len(self._futures), futures)
        failed = [job for job in jobs if job.error is not None]
        if failed:
            assert failed[0].error is not None
            raise failed[0].error if len(failed) == 1 else together(failed, f"{len(failed)} steps failed")
        self.publisher.show_stages(self.run, jobs[0].call.step, self.outcomes)
        return results

    def _prepare(self, call: Call) -> Job:
        parts = call.known or made_from(call)
        key = sha256(parts)
        outcome = Outcome(
            call.step.name, call.shard or call.about, key=None if call.step.effect else key, warnings=call.warnings()
        )
        for one in run_warnings.of([outcome]):
            self.report.event(call.label, Event("warning", text=one.said))
        job = Job(call, key, parts, outcome)
        self.outcomes.append(outcome)
        return job

    def _look_at(self, jobs: list[Job]) -> None:
        """Look at all calls of a step at once: what is whole is served, unless it is to be made again."""
        step = jobs[0].call.step
        for job in jobs:
            self._hits.pop(job.path, None)
            self._whole.pop(job.path, None)
        if step.effect:
            return
        try:
            looked = self.store.check_all(step.name, [job.key for job in jobs])
        except (FromzeroError, OSError):
            if step.version or self.refreshed(step):
                raise
            return  # each looks by itself under its lease, and fails as what it is
        for job in jobs:
            found = looked[job.key]
            if not isinstance(found, Manifest):
                continue
            if self.refreshed(step) or self.decide(job.call, job.key, code_changes(self.store, job.call.step, found)):
                job.over = found
            else:
                self._hits[job.path] = self._whole[job.path] = found

    def decide(self, call: Call, key: str, changed: list[str]) -> bool:
        """True if an expensive artifact is to be made again because its code changed."""
        if not changed:
            return False
        choice: str = self.conf.on_code_change
        if choice == "ask":
            choice = self.report.ask(
                f"{call.label}: its artifact was made by other code ({', '.join(changed)}). "
                "adopt keeps it, rerun makes it again"
            )
        if choice == "adopt":
            adopt(self.store, call.step, key, {"run": self.run_id, "at": now()})
        return choice == "rerun"

    def _submit(self, jobs: list[Job]) -> PrefectConcurrentFuture[Any]:
        parents = {id(parent): parent for job in jobs for parent in self._parents(job)}
        future = self.task_runs.submit(jobs, list(parents.values()))
        self._futures |= {job.key: (len(self._futures) + n, future) for n, job in enumerate(jobs)}
        return future

    def _parents(self, job: Job) -> list[PrefectConcurrentFuture[Any]]:
        """What Prefect's graph shows a call to come from: the makers of its inputs, and the last check if it is new."""
        keys = [artifact.key for artifact in artifacts_in(job.call.inputs)]
        keys += [known.key for known in self._effects if any(known.result is item for item in job.call.inputs)]
        found = {key: self._futures[key] for key in keys if key in self._futures}
        since, checks = self._check
        return [future for _, future in found.values()] + (
            checks if all(order < since for order, _ in found.values()) else []
        )

    def _conclude(self, job: Job, state: State[Any], alone: bool) -> Any:
        """Fill in the outcome and give the flow what the call stands for."""
        outcome = job.outcome
        if job.error is None and (state.is_completed() if alone else outcome.state != "skipped"):
            if outcome.state == "skipped":
                outcome.state = "cached"
            if not job.call.step.effect:
                job.manifest = job.manifest or self._whole[job.path]
                outcome.digest, outcome.stats = job.manifest.digest, job.manifest.stats
                outcome.inputs = job.manifest.inputs
                job.result = Artifact.of(job.manifest)
            elif isinstance(job.result, dict):
                outcome.stats = job.result
                self._effects.append(job)
        else:
            job.error = job.error or StepError(f"{job.call.label}: {state.message or state.name}")
            outcome.state, outcome.message = "failed", str(job.error)
        self.report.ended(outcome)
        return job.result

    def look(self, step: str, key: str) -> Manifest | Miss:
        """The artifact, if it is whole to the last byte, or was when this run looked."""
        return self._whole.get(f"{step}/{key}") or self.store.check(step, key)

    def served(self, path: str) -> Manifest | None:
        """The artifact at STEP/KEY if it was whole before its task began, and is not to be made again."""
        return self._hits.get(path)

    def whole(self, path: str) -> Manifest | Miss:
        """Look at the artifact at STEP/KEY, remembering it for the flow."""
        step, _, key = path.partition("/")
        found = self.store.check(step, key)
        if isinstance(found, Manifest):
            self._whole[path] = found
        return found

    def failed(self, path: str, error: Exception) -> FromzeroError:
        """Keep why the attempt at STEP/KEY failed, sorted into our tree."""
        return self.task_runs.failed(path, error)

    # memory

    def _remember(self, ref: str, etag: str | None, value: dict[str, Any]) -> None:
        if value != self.store.get_ref(ref)[0]:
            with (
                suppress(Conflict),
                self.store.if_writable(f"_refs/{ref}"),
            ):  # the run that was faster has written the same, or what comes after
                self.store.set_ref(ref, value, etag)

    def observe(self, ref: str, look: Callable[[Any, Any], tuple[Any, Any]], conf: Any) -> Any:
        """Look at the world and keep the new memory; looks again if another run was faster."""
        while True:
            memory, etag = self.store.get_ref(ref)
            value, new = look(conf, memory)
            try:
                if new != memory:
                    with self.store.if_writable(f"_refs/{ref}"):
                        self.store.set_ref(ref, new, etag)
                return value
            except Conflict:
                continue

    def lease(self, path: str) -> Lease | None:
        """The lease of an artifact that Prefect's task holds."""
        return self.locks.leases.get(path)

    def progress(self, job: Job) -> Callable[[Event], None]:
        """Shows in Prefect how far the present task run is: an artifact of its own under a key that stays."""
        return progress_shown(f"{self.recipe}-{job.call.step.name}-progress")

    @property
    def run(self) -> Run:
        """The run as pages know it."""
        ids = self.tracking.ids() if self.tracking is not None else None
        return Run(self.home, self.recipe, self.run_id, self.run_name, ids)
