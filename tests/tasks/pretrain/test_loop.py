"""The loop, stopped and started again in one process: kills of real processes are in test_torchrun.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist

from tasks.pretrain.device import settle
from tasks.pretrain.job import Job
from tasks.pretrain.loop import Loop

MakeJob = Callable[..., Job]
KEPT = [
    {"optimizer": {"kind": "muon"}, "ema": 0.9},
    {"optimizer": {"kind": "sgd", "momentum": 0.9, "l1": 1e-4}, "first_batch_tokens": 32, "ramp": 0.5},
    {"optimizer": {"kind": "sgd", "momentum": 0.0}, "label_smoothing": 0.1, "ema": 0.5, "export": "best"},
    {"optimizer": {"kind": "adam"}, "schedule": "linear", "patience": 1, "peak_lr": 3.0},
]


class StopAt:
    """Asks for a stop once a step is reached."""

    def __init__(self, step: int = -1) -> None:
        self.step = step
        self.loop: Loop

    @property
    def asked(self) -> bool:
        return self.loop.trainer.step + 1 == self.step


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


def train(job: Job, *stops: int) -> tuple[Loop, list[float]]:
    """Train to the end, with a new loop after each stop; the last loop and all losses."""
    losses: list[float] = []
    for step in (*stops, -1):
        stop = StopAt(step)
        stop.loop = loop = Loop(job, settle(job.conf.run))
        update = loop.trainer.update

        def noted(*flags: bool, update: Any = update) -> Any:
            figures = update(*flags)
            losses.append(figures.loss)
            return figures

        loop.trainer.update = noted  # type: ignore[method-assign]
        assert loop.run(stop) == (step == -1)  # type: ignore[arg-type]
        loop.checkpoints.close()
    return loop, losses


@pytest.mark.parametrize("options", KEPT)
def test_everything_that_an_optimizer_or_a_segment_keeps_is_resumed_bit_for_bit(
    options: dict[str, Any], make_job: MakeJob
) -> None:
    shape: dict[str, Any] = {"tokens": 16 * 128, "valid_every": 4, "run": {"checkpoint_steps": 5}}
    calm, wanted = train(make_job("calm", **shape, **options))
    again, found = train(make_job("again", **shape, **options), 2, 3)
    assert found == wanted
    tensors = again.trainer.tensors()
    assert all(torch.equal(value, tensors[name]) for name, value in calm.trainer.tensors().items())
    assert again.stats()["tokens"] == calm.stats()["tokens"]


def test_training_ends_before_its_budget_when_the_valid_loss_no_longer_falls(make_job: MakeJob) -> None:
    options: dict[str, Any] = {"tokens": 400 * 128, "valid_every": 2, "peak_lr": 1.0, "patience": 3}
    loop, losses = train(make_job(**options))
    assert len(losses) == loop.steps < 400
    assert loop.stats()["tokens"] == loop.steps * 128
    later, nothing = train(make_job(**options))
    assert not nothing and later.steps == loop.steps, "a finished segment stays finished"


def test_batches_grow_to_their_size_and_spend_the_budget(make_job: MakeJob) -> None:
    job = make_job(tokens=64 * 128, first_batch_tokens=32, ramp=0.5)
    segment = job.conf.segment
    sizes = [segment.tokens_after(step + 1) - segment.tokens_after(step) for step in range(segment.steps)]
    assert sizes == sorted(sizes) and set(sizes) == {32, 64, 96, 128}
    assert 64 * 128 - 128 < sum(sizes) <= 64 * 128
    grown = sum(size for size in sizes if size < 128)
    assert abs(grown - 0.5 * 64 * 128) <= 128


def test_the_average_of_the_weights_is_what_is_looked_at_and_exported(make_job: MakeJob) -> None:
    loop, _ = train(make_job(tokens=8 * 128, ema=0.5))
    trainer = loop.trainer
    weights = {name: value.detach().clone() for name, value in trainer.named.items()}
    assert any(not torch.equal(trainer.ema[name], value) for name, value in weights.items())
    averaged = trainer.evaluate(loop.valid_picks, loop.valid)
    assert all(torch.equal(trainer.named[name], value) for name, value in weights.items())
    for name, value in trainer.ema.items():
        trainer.named[name].data.copy_(value)
    trainer.ema = {}
    assert trainer.evaluate(loop.valid_picks, loop.valid) == averaged
