"""Pretraining as the engine starts it, on a job of its own: real processes, to be killed and stopped."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable

import psutil

from tasks.core.artifact import hash_file
from tasks.pretrain.pretrain_job import PretrainJob
from tasks.training.cluster.torchrun import environment
from tests.preloaded import Child, Preloaded

BODY = """
import sys
from pathlib import Path
from tasks.pretrain.pretrain_job import PretrainJob
from tasks.training.cluster.torchrun import launch
launch(PretrainJob.read(Path(sys.argv[1])))
"""
PATIENCE = 600
"""Seconds after which a thing that is waited for will never come."""


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Wait until something is true; fails with `what`."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.002)


def rows(job: PretrainJob) -> list[dict[str, float]]:
    """The rows of metrics so far."""
    if not job.work.metrics_file.exists():
        return []
    return [json.loads(line) for line in job.work.metrics_file.read_bytes().rpartition(b"\n")[0].splitlines()]


def newest_step(job: PretrainJob) -> int:
    """The step of the last row of metrics, 0 without one; asked many times a second."""
    if not job.work.metrics_file.exists():
        return 0
    last = job.work.metrics_file.read_bytes().rpartition(b"\n")[0].rpartition(b"\n")[2]
    return int(json.loads(last)["step"]) if last else 0


class Body:
    """A step's body in a process group of its own, as the engine starts it."""

    def __init__(self, job: PretrainJob, loaded: Preloaded | None = None, before: str = "") -> None:
        """Start it, forked from `loaded` if there is one; `before` is Python that it runs first."""
        self.job = job
        job.work.make()
        args = ["-c", before + BODY, str(job.write())]
        self.log, self.errors = job.work.root / "log", job.work.root / "errors"
        self.process: subprocess.Popen[bytes] | Child
        if loaded is not None:
            self.process = loaded.start(args, environment(job), self.log, self.errors)
            return
        with self.log.open("wb") as log, self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, *args], env=environment(job), start_new_session=True, stdout=log, stderr=errors
            )

    def reach(self, step: int) -> list[psutil.Process]:
        """Wait for a step and a checkpoint, which is written beside it; returns torchrun and the workers."""
        wait_for(lambda: newest_step(self.job) >= step, f"step {step} never came")
        wait_for(lambda: self.job.work.progress > 0, "no checkpoint ever came")
        return psutil.Process(self.process.pid).children(recursive=True)

    def replaced(self, workers: list[psutil.Process]) -> list[psutil.Process]:
        """Wait for as many other workers in the place of these; the new ones, in the order of their ranks."""
        found: list[psutil.Process] = []

        def others() -> bool:
            found[:] = psutil.Process(self.process.pid).children(recursive=True)[1:]
            return len(found) == len(workers) and not set(found) & set(workers)

        wait_for(others, "the workers were never replaced")
        return found

    def out(self) -> str:
        """What it has printed so far."""
        return self.log.read_text(errors="replace")

    def said(self) -> str:
        """Wait for the end; what it wrote as its error."""
        self.process.wait(timeout=PATIENCE)
        return self.errors.read_text(errors="replace")


def gone(processes: list[psutil.Process]) -> bool:
    """Whether none of these processes lives."""
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


def outcome(job: PretrainJob) -> tuple[str, str]:
    """The sha256 of the weights and of the optimizer's state that a finished job has written."""
    content = job.work.content
    return hash_file(content / "model" / "model.safetensors"), hash_file(content / "state" / "optimizer.safetensors")


def curve(job: PretrainJob) -> list[tuple[float, ...]]:
    """What each logged step came to: the same for the same run, whatever happened to it, every step once."""
    names = ("step", "loss", "grad_norm", "learning_rate", "skipped_updates", "valid_loss")
    return [tuple(row.get(name, -1.0) for name in names) for row in rows(job)]
