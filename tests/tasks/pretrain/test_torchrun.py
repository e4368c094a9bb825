"""Real trainers under torchrun, killed in earnest: whatever happens, the same weights come out."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tasks.core.artifact import hash_file
from tasks.core.errors import ChildKilled, DataError
from tasks.pretrain.job import Job
from tasks.pretrain.torchrun import environment, launch
from tests.tasks.pretrain.conftest import GPT2

MakeJob = Callable[..., Job]
STEPS = 200
"""Many more than are waited for: a trainer must not have ended when it is to be killed."""
BODY = """
import sys
from pathlib import Path
from tasks.pretrain.job import Job
from tasks.pretrain.torchrun import launch
launch(Job.read(Path(sys.argv[1])))
"""
PATIENCE = 600


def wait_for(condition: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.002)


def rows(job: Job) -> list[dict[str, float]]:
    if not job.work.metrics_file.exists():
        return []
    return [json.loads(line) for line in job.work.metrics_file.read_bytes().rpartition(b"\n")[0].splitlines()]


class Body:
    """A step's body in a process group of its own, as the engine starts it."""

    def __init__(self, job: Job) -> None:
        self.job = job
        job.work.make()
        command = [sys.executable, "-c", BODY, str(job.write())]
        self.log = job.work.root / "log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, env=environment(job), start_new_session=True, stdout=log, stderr=subprocess.PIPE
            )

    def reach(self, step: int) -> list[psutil.Process]:
        """Wait for a step and a checkpoint, which is written beside it; returns torchrun and the workers."""
        wait_for(lambda: bool(rows(self.job)) and rows(self.job)[-1]["step"] >= step, f"step {step} never came")
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
        return self.process.communicate(timeout=PATIENCE)[1].decode()


def gone(processes: list[psutil.Process]) -> bool:
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in processes)


def outcome(job: Job) -> tuple[str, str]:
    content = job.work.content
    return hash_file(content / "model" / "model.safetensors"), hash_file(content / "state" / "optimizer.safetensors")


def check_curve(job: Job, undisturbed: Job) -> None:
    """Every step once, with the numbers of the run that nobody disturbed."""
    found, wanted = rows(job), rows(undisturbed)
    assert [row["step"] for row in found] == list(range(1, STEPS + 1))
    names = ("loss", "grad_norm", "learning_rate", "skipped_updates", "valid_loss")
    assert [[row.get(n) for n in names] for row in found] == [[row.get(n) for n in names] for row in wanted]


def options(processes: int) -> dict[str, object]:
    run = {"processes": processes, "checkpoint_steps": 7}
    return {"tokens": STEPS * 128, "run": run, "optimizer": {"guard_window": 16}}


def test_one_process_killed_with_its_body_or_its_agent_ends_with_the_undisturbed_weights(make_job: MakeJob) -> None:
    whole, job = make_job("whole", GPT2, **options(1)), make_job("killed", GPT2, **options(1))
    stats = launch(whole)
    assert stats["steps"] == STEPS and stats["tokens"] == STEPS * 128 and stats["world_size"] == 1
    body = Body(job)
    trainers = body.reach(random.randint(8, 40))
    assert len(trainers) == 2
    os.kill(body.process.pid, signal.SIGKILL)
    wait_for(lambda: gone(trainers), "torchrun or a trainer outlived the body")
    body.said()
    assert 0 < job.work.progress < STEPS
    body = Body(job)
    agent, *workers = body.reach(random.randint(60, 90))
    agent.kill()
    wait_for(lambda: gone(workers), "a trainer outlived torchrun")
    assert "ChildKilled: the trainer was ended by a signal" in body.said()
    launch(job)
    assert outcome(job) == outcome(whole)
    check_curve(job, whole)


@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_killed_stopped_and_interrupted_end_with_the_undisturbed_weights(
    make_job: MakeJob, parallel: str
) -> None:
    run = {"processes": 2, "checkpoint_steps": 7, "parallel": parallel, "max_restarts": 20, "hang_seconds": 6.0}
    both = {**options(2), "run": run}
    whole, job = make_job("whole", **both), make_job("disturbed", **both)
    assert launch(whole)["world_size"] == 2
    body = Body(job)
    _, *first = body.reach(random.randint(8, 40))
    random.choice(first).kill()
    second = body.replaced(first)
    body.reach(random.randint(60, 90))
    victim = random.choice(second)
    victim.suspend()
    third = body.replaced(second)
    rank = second.index(victim)
    assert f"rank {rank}, process {victim.pid}, " in body.out()
    assert "it is stopped by a signal, so there are no stacks" in body.out()
    assert "in update\n" in body.out(), "the other one says where it waits"
    assert f"training hangs: nothing done in 6 s (rank {rank} is stopped by a signal)" in body.out()
    body.reach(random.randint(100, 130))
    random.choice(third).send_signal(signal.SIGUSR1)  # to one of the two only
    message = body.said()
    assert f"ChildKilled: interrupted: saved at step {job.work.progress} of {STEPS}" in message
    Body(job).said()
    assert outcome(job) == outcome(whole)
    check_curve(job, whole)


def test_what_dies_after_an_interrupt_is_not_started_again(make_job: MakeJob) -> None:
    job = make_job(run={"checkpoint_steps": 7, "max_restarts": 20}, tokens=STEPS * 128)
    body = Body(job)
    _, worker = body.reach(10)
    worker.suspend()
    wait_for(lambda: worker.status() == psutil.STATUS_STOPPED, "it did not stop")
    body.process.send_signal(signal.SIGTERM)
    wait_for(job.stop_file.exists, "the interrupt never came")
    worker.kill()
    assert "ChildKilled: the trainer was interrupted" in body.said()
    assert "starting all again" not in body.out()


def test_bad_tokens_are_a_data_error_of_the_worker_and_not_a_killed_child(
    make_job: MakeJob, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    job = make_job()
    (tmp_path / "empty").mkdir()
    broken = Job(**{**vars(job), "train": {"news": [str(tmp_path / "empty")]}})
    with pytest.raises(DataError, match="empty is not a shard"):
        launch(broken)
    assert "starting all again" not in capfd.readouterr().out, "a restart cannot mend the data"


def test_a_worker_that_dies_without_a_word_is_a_killed_child(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job()
    monkeypatch.setattr("tasks.pretrain.torchrun.command", lambda job: [sys.executable, "-c", "raise SystemExit(0)"])
    with pytest.raises(ChildKilled, match="lost"):
        launch(job)
