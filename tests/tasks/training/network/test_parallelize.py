"""However a network is spread over processes, training comes to what one process makes, within rounding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from conf.schema.model import ModelConf, NativeConf, NetworkConf
from conf.schema.pretrain import PretrainRun
from tasks.core.errors import ConfigError
from tasks.pretrain.pretrain_job import PretrainJob
from tasks.training.network.model import build
from tasks.training.network.tensor_parallel import refuse_if_indivisible
from tests.tasks.pretrain.conftest import GPT2, NATIVE
from tests.tasks.pretrain.group import train_groups
from tests.trainer_process import curve, outcome

MakeJob = Callable[..., PretrainJob]
STEPS = 6
QWEN = ModelConf(
    architecture="qwen3",
    config={
        "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 4,
    },
)  # fmt: skip
SPREAD: dict[str, tuple[NetworkConf, dict[str, Any]]] = {
    "copies": (NATIVE, {"processes": 2, "parallel": "ddp"}),
    "shards": (NATIVE, {"processes": 2, "parallel": "fsdp"}),
    "copies-of-shards": (NATIVE, {"processes": 4, "shard_processes": 2}),
    "tensor": (QWEN, {"processes": 2, "tensor_parallel": 2}),
    "tensor-and-shards": (NATIVE, {"processes": 4, "tensor_parallel": 2}),
}
CHAIN: list[tuple[int, dict[str, Any]]] = [
    (2, {"processes": 2, "parallel": "ddp"}),
    (3, {"processes": 1}),
    (4, {"processes": 2, "parallel": "fsdp"}),
    (5, {"processes": 1}),
    (STEPS, {"processes": 2, "tensor_parallel": 2}),
]
"""The step to stop at, and how the processes up to there share the work."""


def options(**run: Any) -> dict[str, Any]:
    """Few steps of two passes each, of a batch that padding makes uneven."""
    return {
        "tokens": STEPS * 128, "packing": "best_fit", "peak_lr": 1e-3, "eval_interval": 3, "ema": 0.9,
        "run": {"micro_batch": 1, "checkpoint_steps": 100, **run},
    }  # fmt: skip


def same(job: PretrainJob, reference: PretrainJob) -> None:
    """Losses within 1e-5 and gradient norms within 1e-4, relative; weights and their average within 1e-4."""
    found, wanted = curve(job), curve(reference)
    assert [row[0] for row in found] == [row[0] for row in wanted] == list(range(1, STEPS + 1))
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-4)
        assert ours[1] == pytest.approx(theirs[1], rel=1e-5) and ours[5] == pytest.approx(theirs[5], rel=1e-5)
    weights, expected = (load_file(where.work.content / "model" / "model.safetensors") for where in (job, reference))
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.allclose(weights[name], value, rtol=0, atol=1e-4), name


def test_losses_gradients_and_weights_are_those_of_one_process_however_many_there_are_and_were(
    make_job: MakeJob, tmp_path: Path
) -> None:
    alone = {kind: make_job(kind, model, **options()) for kind, model in (("native", NATIVE), ("transformers", QWEN))}
    jobs = {name: make_job(name, model, **options(**run)) for name, (model, run) in SPREAD.items()}
    chain = [(make_job("chain", NATIVE, **options(**run)), step if step < STEPS else None) for step, run in CHAIN]
    stopped = make_job("stopped", QWEN, **options(**SPREAD["tensor"][1]))
    runs = [(job, None) for job in (*alone.values(), *jobs.values())]
    train_groups(tmp_path, *runs, *chain, (stopped, 3), (stopped, None))
    for job in (*jobs.values(), chain[0][0]):
        same(job, alone[job.conf.model.kind])
    whole = jobs["tensor"]
    assert outcome(stopped) == outcome(whole) and curve(stopped) == curve(whole), "a stop changes no bit"


@pytest.mark.parametrize(
    ("model", "optimizer", "parts", "said"),
    [
        (GPT2, {}, 2, "a gpt2 cannot be cut .*no plan for it.*tensor_parallel=1"),
        (ModelConf(architecture="phi3", config={**QWEN.config, "pad_token_id": 0}), {}, 2, "phi3 .*colwise_gather"),
        (NATIVE, {"kind": "muon"}, 2, "muon needs whole matrices"),
        (NativeConf(depth=2, width=24, num_heads=3, intermediate_size=64), {}, 2, "num_heads=3 .*tensor_parallel=2"),
        (NATIVE, {}, 4, "num_kv_heads=2 .*tensor_parallel=4"),
    ],
)
def test_what_cannot_be_cut_is_refused_with_the_fix(
    model: NetworkConf, optimizer: dict[str, Any], parts: int, said: str, make_job: MakeJob
) -> None:
    job = make_job(model=model, optimizer=optimizer, run={"processes": parts, "tensor_parallel": parts})
    with pytest.raises(ConfigError, match=said):
        refuse_if_indivisible(build(model, 64, 0, 16, 0), job.conf)


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ({"processes": 3, "tensor_parallel": 2}, "processes=3 is not a multiple of tensor_parallel=2"),
        ({"processes": 4, "tensor_parallel": 2, "shard_processes": 4}, "shard_processes=4 does not divide"),
        ({"processes": 2, "shard_processes": 2, "parallel": "ddp"}, "set parallel=fsdp"),
    ],
)
def test_numbers_of_processes_that_do_not_fit_are_refused(run: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        PretrainRun(**run)
