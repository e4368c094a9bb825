"""The micro-batch that fits; on CUDA the tries are real, here their out-of-memory is made up."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tasks.core.errors import HostError
from tasks.pretrain.estimate import memory
from tasks.pretrain.pretrain_job import PretrainJob
from tasks.pretrain.trainer.batch_size_probe import SPARED, largest, tried
from tasks.pretrain.trainer.pretrain_loop import PretrainLoop
from tasks.training.network.parallelize import inner
from tests.tasks.pretrain.conftest import GPT2
from tests.tasks.training.trainer.test_loop import train, train_until

MakeJob = Callable[..., PretrainJob]
PROBED = {"auto_micro_batch": True, "micro_batch": 1}


def free_for(job: PretrainJob, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let so much memory be free that micro-batches of `size` fit and no larger ones."""
    run = job.conf.run.model_copy(update={"micro_batch": size})
    held = memory(job.conf.model_copy(update={"run": run}), job.vocab_size, gpu=False)
    assert held is not None
    enough = sum(held.values()) / 1e9 / (1 - SPARED) * 1.000001
    monkeypatch.setattr("tasks.pretrain.trainer.pretrain_loop.free_memory_gb", lambda: enough)


def test_the_largest_power_of_two_up_to_the_most_is_found() -> None:
    assert [largest(24, lambda size: size <= 5), largest(24, lambda size: True), largest(4, lambda _: False)] == [
        *(4, 16, 0),
    ]


@pytest.mark.parametrize("fits", [1, 2, 4])
def test_a_probed_run_is_the_one_with_that_micro_batch_and_goes_on_with_it_whatever_is_free_later(
    fits: int, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain, wanted = train(make_job("plain", GPT2, tokens=6 * 128, run={"micro_batch": fits}))
    job = make_job("probed", GPT2, tokens=6 * 128, run=PROBED)
    free_for(job, fits, monkeypatch)
    first, begun = train_until(job, 3)
    assert first.trainer.micro_batch == fits
    assert f"micro-batch {fits} is the largest that fits, of 8 sequences" in capsys.readouterr().out
    free_for(job, 8, monkeypatch)
    second, rest = train_until(job, -1)
    assert f"micro-batch {fits}, as found when this was begun" in capsys.readouterr().out
    assert begun + rest == wanted
    found = second.trainer.tensors()
    assert all(torch.equal(value, found[name]) for name, value in plain.trainer.tensors().items())


def test_a_probe_without_room_for_one_sequence_is_refused_with_the_fix(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(run=PROBED)
    monkeypatch.setattr("tasks.pretrain.trainer.pretrain_loop.free_memory_gb", lambda: 0.001)
    with pytest.raises(HostError, match=r"not even one sequence fits; .*pretrain\.run\.activation_checkpointing=full"):
        PretrainLoop(job, PretrainLoop.place_of(job))


def test_a_try_leaves_weights_gradients_and_random_state_as_they_were(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job("tried", GPT2)
    trainer = PretrainLoop(job, PretrainLoop.place_of(job)).trainer
    before = {name: value.clone() for name, value in trainer.tensors().items()}
    drawn: list[int] = []
    inner(trainer.module).register_forward_pre_hook(lambda module, given: drawn.append(len(given[0])))
    assert tried(trainer, trainer.data, 4) and tried(trainer, trainer.data, 32) and drawn == [4, 32]
    monkeypatch.setattr(trainer, "rehearse", fails)
    assert not tried(trainer, trainer.data, 2)
    after = trainer.tensors()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(parameter.grad is None for parameter in trainer.named.values())
    monkeypatch.setattr(trainer, "rehearse", lambda size: torch.zeros(2) @ torch.zeros(3))
    with pytest.raises(RuntimeError, match="size"):
        tried(trainer, trainer.data, 2)


def fails(size: int) -> None:
    torch.rand(3)
    raise torch.OutOfMemoryError("CUDA out of memory")
