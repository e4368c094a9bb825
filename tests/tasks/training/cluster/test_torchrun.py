"""Real trainers under torchrun, killed in earnest: whatever happens, the same weights come out."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from conf.schema.model import NetworkConf
from tasks.core.errors import ChildKilled, DataError
from tasks.pretrain.pretrain_job import PretrainJob
from tasks.training.cluster.torchrun import launch
from tests.preloaded import Preloaded
from tests.tasks.pretrain.conftest import GPT2, LLAMA, NATIVE
from tests.trainer_process import Body, curve, gone, outcome, wait_for

MakeJob = Callable[..., PretrainJob]
STEPS = 200
"""Many more than are waited for: a trainer must not have ended when it is to be killed."""


def options(processes: int) -> dict[str, object]:
    run = {"processes": processes, "checkpoint_steps": 7}
    return {"tokens": STEPS * 128, "run": run, "optimizer": {"guard_window": 16}}


def test_one_process_killed_with_its_body_or_its_agent_ends_with_the_undisturbed_weights(
    make_job: MakeJob, loaded: Preloaded
) -> None:
    whole, job = make_job("whole", GPT2, **options(1)), make_job("killed", GPT2, **options(1))
    stats = launch(whole)
    assert [row[0] for row in curve(whole)] == list(range(1, STEPS + 1))
    assert stats["steps"] == STEPS and stats["tokens"] == STEPS * 128 and stats["world_size"] == 1
    body = Body(job, loaded)
    trainers = body.reach(random.randint(8, 40))
    assert len(trainers) == 2
    os.kill(body.process.pid, signal.SIGKILL)
    wait_for(lambda: gone(trainers), "torchrun or a trainer outlived the body")
    body.said()
    assert 0 < job.work.progress < STEPS
    body = Body(job, loaded)
    agent, *workers = body.reach(random.randint(60, 90))
    agent.kill()
    wait_for(lambda: gone(workers), "a trainer outlived torchrun")
    assert "ChildKilled: the trainer was ended by a signal" in body.said()
    assert "torch/distributed" not in Body(job, loaded).said(), "torchrun has something to say of how it was called"
    assert outcome(job) == outcome(whole)
    assert curve(job) == curve(whole)


@pytest.mark.parametrize(("parallel", "model"), [("ddp", LLAMA), ("fsdp", NATIVE)])
def test_two_processes_killed_stopped_and_interrupted_end_with_the_undisturbed_weights(
    make_job: MakeJob, loaded: Preloaded, parallel: str, model: NetworkConf
) -> None:
    run = {"processes": 2, "checkpoint_steps": 7, "parallel": parallel, "max_restarts": 20, "hang_timeout": 6.0}
    both = {**options(2), "run": run}
    whole, job = make_job("whole", model, **both), make_job("disturbed", model, **both)
    undisturbed, body = Body(whole, loaded), Body(job, loaded)
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
    Body(job, loaded).said()
    undisturbed.said()
    assert outcome(job) == outcome(whole)
    assert curve(job) == curve(whole)


def test_what_dies_after_an_interrupt_is_not_started_again(make_job: MakeJob, loaded: Preloaded) -> None:
    job = make_job(run={"checkpoint_steps": 7, "max_restarts": 20}, tokens=STEPS * 128)
    body = Body(job, loaded)
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
    broken = PretrainJob(**{**vars(job), "train": {"news": [str(tmp_path / "empty")]}})
    with pytest.raises(DataError, match="empty is not a shard"):
        launch(broken)
    assert "starting all again" not in capfd.readouterr().out, "a restart cannot fix the data"


def test_a_worker_that_dies_without_a_word_is_a_killed_child(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job()
    monkeypatch.setattr(
        "tasks.training.cluster.torchrun.command", lambda *_: [sys.executable, "-c", "raise SystemExit(0)"]
    )
    with pytest.raises(ChildKilled, match="lost"):
        launch(job)
