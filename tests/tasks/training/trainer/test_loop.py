"""The loop, stopped and started again in one process: kills of real processes are in test_torchrun.py."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest
import torch

from tasks.core.errors import StepError
from tasks.pretrain.pretrain_job import PretrainJob
from tasks.pretrain.trainer.pretrain_loop import PretrainLoop
from tasks.training.trainer.training_log import skipped_file
from tests.tasks.pretrain import texts
from tests.tasks.pretrain.conftest import LLAMA
from tests.trainer_process import rows

MakeJob = Callable[..., PretrainJob]
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
        self.loop: PretrainLoop

    @property
    def asked(self) -> bool:
        return self.loop.trainer.step + 1 == self.step


def poison(loop: PretrainLoop, steps: Collection[int]) -> None:
    """Make the gradients of these steps (from 1) NaN."""
    parameter = next(iter(loop.trainer.named.values()))
    parameter.register_hook(lambda gradient: gradient * (math.nan if loop.trainer.step + 1 in steps else 1.0))


def train_until(job: PretrainJob, step: int, bad: Collection[int] = ()) -> tuple[PretrainLoop, list[float]]:
    """Train in a new loop until it is asked to stop at a step, or with -1 to the end; the loop and its losses."""
    losses: list[float] = []
    stop = StopAt(step)
    stop.loop = loop = PretrainLoop(job, PretrainLoop.place_of(job))
    update = loop.trainer.update
    poison(loop, bad)

    def noted(*flags: bool) -> Any:
        figures = update(*flags)
        losses.append(figures.loss)
        return figures

    loop.trainer.update = noted  # type: ignore[method-assign]
    assert loop.run(stop) == (step == -1)  # type: ignore[arg-type]
    loop.checkpoints.close()
    return loop, losses


def train(job: PretrainJob, *stops: int, bad: Collection[int] = ()) -> tuple[PretrainLoop, list[float]]:
    """Train to the end, with a new loop after each stop; the last loop and all losses."""
    parts = [train_until(job, step, bad) for step in (*stops, -1)]
    return parts[-1][0], [loss for _, losses in parts for loss in losses]


@pytest.mark.parametrize("options", KEPT)
def test_everything_that_an_optimizer_or_a_segment_keeps_is_resumed_bit_for_bit(
    options: dict[str, Any], make_job: MakeJob
) -> None:
    shape: dict[str, Any] = {"tokens": 16 * 128, "eval_interval": 4, "run": {"checkpoint_steps": 5}}
    calm, wanted = train(make_job("calm", **shape, **options))
    again, found = train(make_job("again", **shape, **options), 2, 3)
    assert found == wanted
    tensors = again.trainer.tensors()
    assert all(torch.equal(value, tensors[name]) for name, value in calm.trainer.tensors().items())
    assert again.stats()["tokens"] == calm.stats()["tokens"]


def test_training_ends_before_its_budget_when_the_valid_loss_no_longer_falls(make_job: MakeJob) -> None:
    options: dict[str, Any] = {"tokens": 400 * 128, "eval_interval": 2, "peak_lr": 1.0, "patience": 3}
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
    averaged = trainer.evaluate()
    assert all(torch.equal(trainer.named[name], value) for name, value in weights.items())
    for name, value in trainer.ema.items():
        trainer.named[name].data.copy_(value)
    trainer.ema = {}
    assert trainer.evaluate() == averaged


BACK: dict[str, Any] = {
    "tokens": 20 * 128,
    "eval_interval": 4,
    "run": {"checkpoint_steps": 3},
    "optimizer": {"guard_patience": 3, "rollback_interval": 4},
}
BAD = (7, 8, 9, 15)


@pytest.mark.parametrize("stops", [(2, 8), (9, 10), (7, 13)])
def test_too_many_skipped_updates_take_back_earlier_weights_and_a_stop_at_any_moment_changes_nothing(
    make_job: MakeJob, stops: tuple[int, ...]
) -> None:
    calm, wanted = train(make_job("calm", **BACK), bad=BAD)
    again, found = train(make_job("again", **BACK), *stops, bad=BAD)
    assert found == wanted
    assert calm.rollback.windows == again.rollback.windows == [(4, 9)]
    assert calm.stats()["went_back"] == 1 and calm.stats()["skipped_updates"] == again.stats()["skipped_updates"] == 4
    tensors = again.trainer.tensors()
    assert all(torch.equal(value, tensors[name]) for name, value in calm.trainer.tensors().items())


def test_going_back_restores_weights_and_moments_and_leaves_out_the_data_between(make_job: MakeJob) -> None:
    job = make_job(**BACK)
    before = {name: value.clone() for name, value in train_until(job, 4, BAD)[0].trainer.tensors(rng=False).items()}
    loop, _ = train_until(job, 9, BAD)
    assert all(torch.equal(value, before[name]) for name, value in loop.trainer.tensors(rng=False).items())
    assert loop.trainer.step == 9 and loop.loader_state(9)["taken"] == {"all": 9 * 8}
    assert train_until(job, 10, BAD)[0].trainer.step == 10


def test_a_return_that_does_not_help_is_an_error(make_job: MakeJob) -> None:
    with pytest.raises(StepError, match="every update since the return of step 9 to step 4"):
        train(make_job(**BACK), bad=range(7, 20))


def test_every_skipped_update_is_listed_once_with_its_documents(make_job: MakeJob) -> None:
    job = make_job(tokens=12 * 128, run={"checkpoint_steps": 3})
    train(job, 6, bad=(4, 6))
    rows = [json.loads(line) for line in skipped_file(job.work).read_text().splitlines()]
    assert [row["step"] for row in rows] == [4, 6]
    assert [len(row["samples"]) for row in rows] == [8, 8]
    assert all(sample["documents"] and sample["source"] in ("news", "talk") for sample in rows[0]["samples"])


def test_every_row_tells_pace_waits_and_memory_and_those_with_a_look_bits_per_byte(tmp_path: Path) -> None:
    job = texts.job(texts.write(tmp_path / "texts"), tmp_path / "work", LLAMA, eval_interval=4, tokens=6 * 512)
    loop, losses = train(job, 3)
    found = rows(job)
    assert [row["loss"] for row in found] == losses and [row["step"] for row in found] == [1, 2, 3, 4, 5, 6]
    for row in found:
        assert row["tokens_per_second"] == row["tokens_per_second_per_device"] > 0 and row["memory_peak_gb"] > 0
        assert 0 < row["data_wait"] < 1 and 0 <= row["checkpoint_stall"] < 1 and "mfu" not in row
    looked = [row for row in found if "valid_loss" in row]
    assert [row["step"] for row in looked] == [4, 6]
    assert all(row["valid_bits_per_byte"] == row["valid_loss"] * loop.bits for row in looked)
    assert sum(row["checkpoint_stall"] > 0 for row in found) == 0 < loop.meter.spent["checkpoint"], (
        "the last one comes after"
    )
    stats = loop.stats()
    assert stats["metrics"]["valid_bits_per_byte"] == looked[-1]["valid_bits_per_byte"] and stats["mfu"] is None
    assert stats["flops"] == 6 * 512 * loop.meter.flops and stats["memory_peak_gb"] >= found[-1]["memory_peak_gb"]
