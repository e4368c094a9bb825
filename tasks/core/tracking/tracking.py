"""Runs in MLflow that survive kills, restarts and an MLflow that is down, without ever delaying what they track.

A run is a folder: `run.json` is what MLflow should show, `metrics.jsonl` and `system.jsonl` its curves, `plots/` its
pictures, `mlflow.json` how far MLflow got.
Bringing MLflow up to date may be repeated at will: a run is found by an id of our own, and MLflow's SQL store ignores
a point that it has. What is unsent when a work directory goes is kept under HOME/mlflow/unsent/ for a later run.
"""

from __future__ import annotations

import json
import logging
import shutil
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.core import liveness
from tasks.core.artifact import Artifact, sha256
from tasks.core.inner_path import InnerPath
from tasks.core.small_files import read_json, write_atomically
from tasks.core.tracking.mlflow_db import prepare, tracking_uri
from tasks.core.tracking.mlflow_sync import (
    PICTURES,
    PROGRESS,
    REACHED,
    ROWS,
    WANTED,
    connect,
    deliver,
    end_stale_runs,
    gone,
    owner,
)

__all__ = ["PICTURES", "Tracked", "Tracking", "datasets_of", "prepare", "tracking_uri"]

COUNTED = ("rows", "documents", "tokens", "bytes")
"""Statistics that a dataset's profile shows."""
LONGEST_PAUSE = 30.0
_log = logging.getLogger(__name__)


@dataclass
class Tracked:
    """One run on its way to MLflow."""

    folder: Path
    done: threading.Event = field(default_factory=threading.Event)
    last_id: str | None = None

    experiment: str | None = None

    @property
    def run_id(self) -> str | None:
        """MLflow's id, as soon as it is known."""
        return self.last_id or read_json(self.folder / REACHED).get("run")

    @property
    def experiment_id(self) -> str | None:
        """The id of the experiment that the run belongs to, as soon as it is known."""
        return self.experiment or read_json(self.folder / REACHED).get("experiment")

    def want(self, **values: Any) -> None:
        """Change what MLflow should show; only its owner calls this."""
        wanted = read_json(self.folder / WANTED) | values
        write_atomically(self.folder / WANTED, json.dumps(wanted).encode())


class Tracking:
    """The MLflow side of one pipeline run: a parent run and one run per tracked step, served by one thread.

    Nothing is imported, started or written before the first `start` or `parent`. No method raises because of MLflow.
    """

    def __init__(
        self, home: Path, run: str, name: str, tags: Mapping[str, str] | None = None, every: float = 2.0
    ) -> None:
        """`run` is the pipeline run's id, `name` what people see; `every` is the pause between sends in seconds."""
        self.home, self.every = home, every
        self._spec: dict[str, Any] = {
            "id": run, "name": name, "params": {}, "tags": dict(tags or {}), "datasets": {}, "metrics": {},
            "started": time.time(),
        }  # fmt: skip
        self._unsent = home.resolve() / "mlflow" / "unsent"
        self._runs: list[Tracked] = []
        self._died: list[Tracked] = []
        """Of those, the runs that were killed."""
        self._wake, self._stop = threading.Event(), threading.Event()
        self._failures = 0
        """Failed sends since one went through."""
        self._thread: threading.Thread | None = None

    def start(
        self, step: str, key: str, scratch: Path, *, params: Mapping[str, Any], tags: Mapping[str, str],
        datasets: Mapping[str, Mapping[str, Any]],
    ) -> Tracked:  # fmt: skip
        """The run of a step, continued if its work directory was tracked before.

        `params` is the step's config, nested; `datasets` are what goes in: {name: {digest, uri, profile}}.
        """
        self._begin()
        tracked, run = Tracked(scratch), read_json(scratch / WANTED).get("id") or uuid.uuid4().hex
        self._forget(run)
        own = {"fromzero.step": step, "fromzero.key": key, "fromzero.owner": owner()}
        parent = {name: self._spec[name] for name in ("id", "name", "started")}
        tracked.want(id=run, session=uuid.uuid4().hex, name=step, parent=parent, tags={**tags, **own}, status=None)
        tracked.want(started=time.time())
        tracked.want(params=dict(_flat(params)), datasets=dict(datasets), metrics={})
        self._runs.append(tracked)
        self._wake.set()
        return tracked

    def reached(self, folder: Path, said: str) -> None:
        """Let the run of this folder show how far it is, in words."""
        write_atomically(folder / PROGRESS, said.encode())

    def parent(self, timeout: float = 20) -> str | None:
        """The pipeline's own run, made now if need be; None if MLflow did not answer within `timeout` seconds."""
        self._begin()
        end = time.monotonic() + timeout
        while (found := self._runs[0].run_id) is None and time.monotonic() < end:
            time.sleep(0.02)
        return found

    def ids(self) -> tuple[str, str] | None:
        """Experiment and run of the pipeline's own run in MLflow, if they are known by now."""
        own = self._runs[0] if self._runs else None
        return (own.experiment_id, own.run_id) if own and own.experiment_id and own.run_id else None

    def finish(
        self, tracked: Tracked, status: str, metrics: Mapping[str, float] | None = None, timeout: float = 20
    ) -> str | None:
        """End a run as FINISHED, FAILED or KILLED; its MLflow id.

        Waits up to `timeout` seconds for the last point, not for an MLflow that is down; what is not sent by then is
        copied, and `scratch` may go.
        """
        tracked.want(status=status, metrics=dict(metrics or {}), ended=time.time())
        if not self._sent(tracked, timeout) and tracked.folder.parent != self._unsent:
            kept = self._unsent / InnerPath(read_json(tracked.folder / WANTED)["id"], f"{tracked.folder}/{WANTED}")
            kept.mkdir(parents=True, exist_ok=True)
            if (tracked.folder / PICTURES).exists():
                shutil.copytree(tracked.folder / PICTURES, kept / PICTURES, dirs_exist_ok=True)
            for name in (REACHED, *ROWS, WANTED):
                if (tracked.folder / name).exists():
                    shutil.copyfile(tracked.folder / name, kept / name)
            tracked.folder = kept
        return tracked.run_id

    def _sent(self, tracked: Tracked, timeout: float) -> bool:
        """Whether all of a run is sent in time; no more is waited for once a send has failed, and the one before it."""
        end, before = time.monotonic() + timeout, self._failures
        self._wake.set()
        while not tracked.done.wait(0.05) and time.monotonic() < end:
            if self._failures > max(before, 1):
                break
        return tracked.done.is_set()

    def close(self, status: str, timeout: float = 20) -> None:
        """End the parent run and whatever run is still open, and stop; nothing to do if nothing was tracked."""
        if self._thread is None:
            return
        end = time.monotonic() + timeout
        for tracked in reversed(self._runs):
            if not read_json(tracked.folder / WANTED).get("status", tracked.done.is_set()):
                self.finish(tracked, status, timeout=max(0.0, end - time.monotonic()))
        self._stop.set()
        self._wake.set()
        self._thread.join(max(1.0, end - time.monotonic()))

    @classmethod
    def end_lost(cls, home: Path, timeout: float = 10) -> None:
        """Send what runs that are gone have left, and end them; MLflow is not even imported if they left nothing."""
        tracking = cls(home, "", "")
        tracking._runs = list(tracking._left())
        if not tracking._runs:
            return
        end = time.monotonic() + timeout
        thread = threading.Thread(target=tracking._serve, name="mlflow", daemon=True)
        thread.start()
        for tracked in tracking._runs:
            tracked.done.wait(max(0.0, end - time.monotonic()))
        tracking._stop.set()
        tracking._wake.set()
        thread.join(max(0.0, end - time.monotonic()))

    def _begin(self) -> None:
        if self._thread is not None:
            return
        own = Tracked(self._unsent / str(self._spec["id"]))
        own.folder.mkdir(parents=True, exist_ok=True)
        tags = {**self._spec["tags"], "fromzero.owner": owner()}
        own.want(**self._spec | {"tags": tags}, session=uuid.uuid4().hex, parent=None, status=None)
        self._runs = [own, *self._left()]
        self._thread = threading.Thread(target=self._serve, name="mlflow", daemon=True)
        self._thread.start()

    def _left(self) -> Iterator[Tracked]:
        """What earlier runs could not send; those that were killed before they could say how they ended, as KILLED."""
        for path in sorted(self._unsent.glob(f"*/{WANTED}")):
            tracked, wanted = Tracked(path.parent), read_json(path)
            if wanted["status"] is None and self._dead(path, wanted):
                tracked.want(status="KILLED", ended=path.stat().st_mtime)
                self._died.append(tracked)
            if read_json(path)["status"] is not None:
                yield tracked

    def _dead(self, path: Path, wanted: Mapping[str, Any]) -> bool:
        """Its process is gone; where the host had another name then, it has given no sign of life for long."""
        if gone(wanted["tags"]["fromzero.owner"]):
            return True
        silent = time.time() - path.stat().st_mtime > liveness.SILENT
        return silent and all(about["run"] != wanted["id"] for about in liveness.living(self.home))

    def _parents(self) -> set[str]:
        """MLflow's ids of the runs that were killed."""
        return {found for tracked in self._died if (found := tracked.run_id)}

    def _forget(self, run: str) -> None:
        """A run that goes on is not to be ended by what was kept of it before."""
        self._runs = [t for t in self._runs if read_json(t.folder / WANTED).get("id") != run]
        shutil.rmtree(self._unsent / run, ignore_errors=True)

    def _serve(self) -> None:
        pause, warned, tidied = self.every, False, False
        while not self._stop.is_set():
            try:
                client, experiment = connect(self.home)
                for tracked in [run for run in self._runs if not run.done.is_set()]:
                    if deliver(client, experiment, tracked.folder, self._unsent.parent):
                        self._end(tracked)
                tidied = tidied or end_stale_runs(client, experiment, self._parents()) >= 0
                pause, warned, self._failures = self.every, False, 0
            except Exception as error:
                self._failures += 1
                if not warned:
                    _log.warning(
                        "MLflow does not answer; metrics are kept and sent later: %s",
                        str(error).partition("\n")[0] or error,
                    )
                pause, warned = min(max(pause, 0.5) * 2, LONGEST_PAUSE), True
            self._wake.wait(pause)
            self._wake.clear()

    def _end(self, tracked: Tracked) -> None:
        if tracked.folder.parent == self._unsent:
            tracked.last_id, tracked.experiment = tracked.run_id, tracked.experiment_id
            shutil.rmtree(tracked.folder)
        tracked.done.set()


def datasets_of(inputs: Sequence[Any]) -> dict[str, dict[str, Any]]:
    """The artifacts that go into a step, as MLflow's datasets; the shards of one step are one dataset."""
    by_step: dict[str, list[Artifact]] = {}
    for item in inputs:
        for artifact in item if isinstance(item, tuple) else (item,):
            if isinstance(artifact, Artifact):
                by_step.setdefault(artifact.step, []).append(artifact)
    return {step: _dataset(found) for step, found in by_step.items()}


def _dataset(found: Sequence[Artifact]) -> dict[str, Any]:
    one = found[0]
    whole = {(artifact.key, artifact.shard): artifact for artifact in found}.values()  # parts have one's statistics
    counted: dict[str, Any] = {"artifacts": len(whole)}
    for name in COUNTED:
        values = [artifact.stats[name] for artifact in whole if isinstance(artifact.stats.get(name), int)]
        counted |= {name: sum(values)} if values else {}
    digest = one.digest if len(found) == 1 else sha256([artifact.digest for artifact in found])
    return {"digest": digest, "uri": f"{one.step}/{one.key}" if len(found) == 1 else one.step, "profile": counted}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)
