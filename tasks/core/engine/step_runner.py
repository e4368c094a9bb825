"""What one task does: the body of a step or of an effect, in a child process, published and tracked."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Callable
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from tasks.core.artifact import Artifact, Manifest, sha256
from tasks.core.engine.channel import AT_HAND
from tasks.core.engine.progress import ProgressThread
from tasks.core.engine.publishing import Publisher
from tasks.core.engine.reporting import Run
from tasks.core.engine.workspace import Job, Report, Workspace
from tasks.core.errors import Refused, StepError, Transient
from tasks.core.events import Event
from tasks.core.interpreter import ROOT
from tasks.core.plan.fingerprint import fingerprint, versions_of
from tasks.core.plan.keys import artifacts_in, flat, made_from
from tasks.core.small_files import clear
from tasks.core.step import Call
from tasks.core.store.lease import Lease, stopping
from tasks.core.store.store import Miss, Store
from tasks.core.tracking.tracking import Tracking, datasets_of
from tasks.core.waiting import announced
from tasks.core.workdir import Workdir

Log = Callable[..., None]
"""Where a child's lines go beside its file: a format and its values, as a logger takes them."""


class Host(Protocol):
    """The engine, as far as the bodies of tasks need it."""

    home: Path
    run_id: str
    run_name: str
    store: Store
    report: Report
    workspace: Workspace
    publisher: Publisher
    tracking: Tracking | None
    git: dict[str, Any]

    @property
    def run(self) -> Run:
        """The run as pages know it."""

    def lease(self, path: str) -> Lease | None:
        """The lease of an artifact that Prefect's task holds."""

    def whole(self, path: str) -> Manifest | Miss:
        """The artifact, with all of its files there."""

    def decide(self, call: Call, key: str, changed: list[str]) -> bool:
        """True if an expensive artifact is to be made again because its code changed."""

    def progress(self, job: Job) -> Callable[[Event], None]:
        """Shows in Prefect how far a task run is."""


class StepRunner:
    """Makes artifacts and carries effects out for an engine, in the threads of its tasks, each with its id and log."""

    def __init__(self, engine: Host) -> None:
        self.engine = engine

    def make(self, job: Job, task: str, log: Log) -> Any:
        """Make the job's artifact, unless another run has meanwhile; its reference."""
        engine, step, path = self.engine, job.call.step, job.path
        lease = engine.lease(path)
        if lease is None:
            raise StepError(f"{job.call.label} has no key and no lease: it must not run")
        found = engine.whole(path)
        if isinstance(found, Manifest) and (job.over is None or found.attempt != job.over.attempt):
            job.outcome.state = "cached"  # another run made it since this one looked
            return _fresh(Artifact.of(found).ref())
        if job.call.known is not None and sha256(made_from(job.call)) != job.key:
            raise StepError(f"{job.call.label} was lost while the run was under way: run again")
        engine.report.started(job.call.label)
        fetches = engine.workspace.placing.of(step).fetches
        work = engine.store.backend.open_work(path, lease, AT_HAND if fetches else None)
        engine.workspace.ready(work, job, lambda why: engine.decide(job.call, job.key, why))
        before = work.progress
        tracked = self._track(job, work, task) if step.track else None
        try:
            with nullcontext() if fetches else engine.workspace.saving(path, work, lease):
                stats = self._run(job, work, lease, task, log)
            engine.workspace.keep_curves(work)
        except BaseException as error:
            if work.progress > max(before, job.progress):
                job.failures = 0
            job.progress = work.progress
            if tracked is not None and engine.tracking is not None:
                retried = isinstance(error, Transient) and not stopping.is_set()
                engine.tracking.finish(tracked, "KILLED" if stopping.is_set() or retried else "FAILED", timeout=2)
            raise
        made_by = self._made_by(job, task, stats)
        if tracked is not None and engine.tracking is not None:
            engine.publisher.draw(step, work)
            numbers = {k: float(v) for k, v in stats.get("metrics", {}).items() if isinstance(v, (int, float))}
            made_by["mlflow_run"] = engine.tracking.finish(tracked, "FINISHED", numbers)
        inputs = tuple(artifact.ref() for artifact in artifacts_in(job.call.inputs))
        manifest = Manifest(step.name, job.key, job.parts, "", "", (), stats, inputs, made_by, job.call.shard)
        job.manifest = engine.store.publish(work, manifest, over=job.over)
        engine.store.backend.close_work(path)
        job.outcome.state = "completed"
        engine.publisher.show(engine.run, engine.store, job, stats)
        return _fresh(Artifact.of(job.manifest).ref())

    def effect(self, job: Job, task: str, log: Log) -> tuple[str, str]:
        """Carry the job's effect out, unless the world is as it would leave it; what its state is called, and says."""
        engine, step, call = self.engine, job.call.step, job.call
        assert step.check is not None
        check = step.check
        done = check(*call.inputs, call.conf)
        if done is not None:  # a hit needs no lease
            job.result = done
            return _waiting(job) or ("Cached", "already done")
        other = announced(f"another run, which carries out {step.name}", self._noticed(call.label))
        with other:
            lease = engine.store.lock(f"_effects/{step.name}", done=lambda: check(*call.inputs, call.conf) is not None)
        try:
            done = check(*call.inputs, call.conf)
            if done is not None:
                job.result = done
                return _waiting(job) or ("Cached", "already done")
            engine.report.started(call.label)
            work = Workdir(engine.store.backend.open_work(job.path, lease).root)
            clear(work.content)
            work.make()
            job.result = self._run(job, work, lease, task, log)
            engine.store.backend.close_work(job.path)
            job.outcome.state, job.outcome.stats = "completed", dict(job.result)
            engine.publisher.show(engine.run, engine.store, job, job.outcome.stats)
            return _waiting(job) or ("Completed", "done")
        except Refused as refused:
            job.outcome.state, job.outcome.message, job.result = "refused", str(refused), {"refused": str(refused)}
            return "Refused", str(refused)
        finally:
            lease.release()

    def _run(self, job: Job, work: Workdir, lease: Lease, task: str, log: Log) -> dict[str, Any]:
        """Run the child, its lines going to Prefect's log, to the report and to a file."""
        engine, label = self.engine, job.call.label
        file = engine.home / "logs" / engine.run_id / f"{label}.log"

        shown = engine.progress(job)

        def show(event: Event) -> None:
            if job.call.step.track and engine.tracking is not None:
                engine.tracking.reached(work.scratch, event.whole)
            if job.call.shard is None:  # one for each shard of many would hide the others
                shown(event)

        with ProgressThread(show) as progress:

            def note(text: str) -> None:
                with suppress(Exception):  # a log line that Prefect does not take must not end the step
                    log("%s", text)

            def say(text: str) -> None:
                note(text)
                engine.report.line(label, text)

            def hear(event: Event) -> None:
                if event.kind == "progress":
                    progress.event(event)
                else:
                    note(event.said)
                engine.report.event(label, event)

            return engine.workspace.run(job, work, lease, file, self._context(job, task), say, hear)

    def _noticed(self, label: str) -> Callable[[str], None]:
        return lambda text: self.engine.report.event(label, Event("notice", text=text))

    def _track(self, job: Job, work: Workdir, task: str) -> Any:
        engine = self.engine
        flow_run = {"prefect.flow_run_id": engine.run_id}
        if engine.tracking is None:
            tags = {**flow_run, "git.commit": str(engine.git["commit"]), **self._note()}
            engine.tracking = Tracking(engine.home, engine.run_id, engine.run_name, tags)
        note = self._note(f"Makes the artifact `{job.call.step.name}/{job.key[:12]}`. ")
        return engine.tracking.start(
            job.call.label,
            job.key,
            work.scratch,
            params=flat(job.parts["conf"] or {}),
            tags={**flow_run, "prefect.task_run_id": task, **note},
            datasets=datasets_of(job.call.inputs),
        )

    def _note(self, before: str = "") -> dict[str, str]:
        """Tags that lead from an MLflow run to the flow run; MLflow shows the second as its description."""
        page, name = self.engine.run.prefect_page, self.engine.run_name
        return {"prefect.page": page, "mlflow.note.content": f"{before}Part of [{name}]({page}) in Prefect."}

    def _context(self, job: Job, task: str) -> dict[str, Any]:
        engine = self.engine
        parent = engine.tracking.parent() if engine.tracking is not None and job.call.step.effect else None
        pages = {"prefect": engine.run.prefect_page, "mlflow": engine.run.mlflow_page if parent else None}
        return {
            "flow_run": engine.run_id,
            "task_run": task,
            "mlflow_run": parent,
            "home": str(engine.home),
            "git": engine.git,
            "pages": {name: page for name, page in pages.items() if page},
        }

    def _made_by(self, job: Job, task: str, stats: dict[str, Any]) -> dict[str, Any]:
        return {
            "device": stats.get("device", "cpu"),
            "world_size": stats.get("world_size", 1),
            "flow_run": self.engine.run_id,
            "task_run": task,
            "host": platform.node(),
            "python": platform.python_version(),
            "cpus": min(job.call.step.resources.cpu, self.engine.workspace.placing.slots.total),
            "git": self.engine.git,
            "fingerprint": fingerprint(job.call.step).digest,
            "code": versions_of(job.call.step),
            "seconds": round(job.outcome.seconds, 3),
            "attempts": job.outcome.attempts,
            "finished": now(),
        }


def _waiting(job: Job) -> tuple[str, str] | None:
    """An effect that waits for a person is done as far as this run goes, and says what it waits for."""
    if not job.result.get("waiting"):
        return None
    job.outcome.state, job.outcome.message = "waiting", str(job.result["message"])
    return "Waiting", job.outcome.message


def _fresh(ref: dict[str, Any]) -> Any:
    """A copy with strings of its own: Prefect draws an edge to every later task that is given one of these objects."""
    return json.loads(json.dumps(ref))


def now() -> str:
    """The time in UTC, as manifests have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def git_state() -> dict[str, Any]:
    """The commit that the code stands at and whether the tree differs from it; None where there is no checkout."""

    def ask(*words: str) -> str | None:
        try:
            ran = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, timeout=10)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return ran.stdout.strip() if ran.returncode == 0 else None

    commit = ask("rev-parse", "HEAD")
    return {"commit": commit, "dirty": bool(ask("status", "--porcelain", "--untracked-files=no")) if commit else None}
