"""Our own decoder: equal to its twin in transformers, documents apart, and as much a loss_module as any other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from pydantic import ValidationError

from conf.schema.model import ModelConf, NativeConf
from tasks.pretrain.pretrain_job import PretrainJob
from tasks.pretrain.trainer import segment_export
from tasks.training.cluster.torchrun import launch
from tasks.training.network import native
from tests.tasks.pretrain.conftest import VOCAB
from tests.tasks.training.trainer.test_trainer import trainer_of
from tests.trainer_process import rows

MakeJob = Callable[..., PretrainJob]
SMALL: dict[str, Any] = {"depth": 2, "width": 16, "num_heads": 4, "intermediate_size": 24, "max_positions": 64}
SHAPES = {
    "llama": NativeConf(**SMALL),
    "llama, grouped, untied": NativeConf(**SMALL, num_kv_heads=2, tie_embeddings=False, rope_theta=500.0),
    "llama, wide heads": NativeConf(**SMALL, num_kv_heads=1, head_size=6, norm_eps=1e-3),
    "qwen3": NativeConf(**SMALL, qk_norm=True),
    "qwen3, grouped, untied": NativeConf(**SMALL, qk_norm=True, num_kv_heads=2, tie_embeddings=False),
}


@pytest.fixture(autouse=True)
def left_group() -> Iterator[None]:
    yield
    if dist.is_initialized():
        dist.destroy_process_group()


def stored(conf: NativeConf, make_job: MakeJob, folder: Path) -> tuple[Any, Any]:
    """A native network with weights far from those at the start, and what transformers loads from its directory."""
    from transformers import AutoModelForCausalLM

    job = make_job(model=conf)
    trainer = trainer_of(job)
    with torch.no_grad():
        for parameter in trainer.named.values():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    segment_export.write_model(trainer, Path(job.tokenizer), folder)
    return trainer.loss_module.model.eval(), AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


@pytest.mark.parametrize("shape", SHAPES)
def test_transformers_computes_the_same_logits_from_what_is_stored(
    shape: str, make_job: MakeJob, tmp_path: Path
) -> None:
    ours, twin = stored(SHAPES[shape], make_job, tmp_path / "model")
    assert twin.config.model_type == ("qwen3" if SHAPES[shape].qk_norm else "llama")
    assert twin.config.max_position_embeddings == 64 and twin.config.eos_token_id == 0
    assert {n: p.shape for n, p in ours.named_parameters()} == {n: p.shape for n, p in twin.named_parameters()}
    ids = torch.randint(0, VOCAB, (3, 24))
    for positions in (torch.arange(24).expand(3, 24), torch.cat([torch.arange(7), torch.arange(17)]).expand(3, 24)):
        with torch.no_grad():
            found = ours(ids, positions).logits
            wanted = twin(input_ids=ids, position_ids=positions, use_cache=False).logits
        assert wanted.std() > 0.1
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def test_what_is_stored_has_the_files_and_the_config_of_a_transformers_model(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job(model=SHAPES["llama"])
    same = make_job("other", model=SHAPES["llama"].in_transformers())
    for name, one in (("native", job), ("transformers", same)):
        segment_export.write_model(trainer_of(one), Path(one.tokenizer), tmp_path / name)
    ours, theirs = (sorted(path.name for path in (tmp_path / name).iterdir()) for name in ("native", "transformers"))
    assert ours == theirs
    configs = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("native", "transformers")]
    assert configs[0] == configs[1]


def test_a_document_is_computed_as_if_it_were_alone() -> None:
    network = native.build(SHAPES["qwen3, grouped, untied"], VOCAB, 0, seed=1).eval()
    first, other, second = torch.randint(1, VOCAB, (3, 6))
    positions = torch.arange(6).repeat(2)[None]
    with torch.no_grad():
        one = network(torch.cat([first, second])[None], positions).logits[0, 6:]
        two = network(torch.cat([other, second])[None], positions).logits[0, 6:]
        alone = network(second[None], torch.arange(6)[None]).logits[0]
        later = network(torch.cat([first, other])[None], torch.arange(12)[None]).logits[0, :6]
        ahead = network(torch.cat([first, second])[None], torch.arange(12)[None]).logits[0, :6]
    assert torch.equal(one, two) and torch.equal(later, ahead)
    torch.testing.assert_close(one, alone, rtol=0, atol=1e-6)


def test_weights_depend_on_the_seed_alone_and_writing_matrices_start_smaller() -> None:
    conf = NativeConf(depth=8, width=64, init_std=0.05)
    one, same, other = (dict(native.build(conf, 96, 0, seed).named_parameters()) for seed in (3, 3, 4))
    assert all(torch.equal(one[name], same[name]) for name in one)
    name = "model.layers.0.mlp.up_proj.weight"
    assert not torch.equal(one[name], other[name])
    assert abs(float(one[name].detach().std()) - 0.05) < 0.002
    assert abs(float(one["model.layers.0.mlp.down_proj.weight"].detach().std()) - 0.05 / 4) < 0.001


def test_a_half_precision_pass_is_near_the_whole_one() -> None:
    network = native.build(SHAPES["qwen3"], VOCAB, 0, seed=1).eval()
    ids, positions = torch.randint(0, VOCAB, (2, 8)), torch.arange(4).repeat(2).expand(2, 8)
    with torch.no_grad():
        whole = network.base_model(ids, positions).last_hidden_state
        with torch.autocast("cpu", torch.bfloat16):
            half = network.base_model(ids, positions).last_hidden_state
    torch.testing.assert_close(half.float(), whole, rtol=0, atol=0.05)


def test_a_second_segment_starts_from_the_stored_weights(make_job: MakeJob, tmp_path: Path) -> None:
    conf = SHAPES["llama, grouped, untied"]
    before = trainer_of(make_job(model=conf))
    before.update()
    segment_export.write_model(before, tmp_path, tmp_path / "start" / "model")
    segment_export.write_state(
        before, tmp_path / "start" / "state", {"loader": before.data.order.record(1), "tokens": 128}
    )
    after = trainer_of(make_job("second", model=conf, start=str(tmp_path / "start")))
    found, wanted = after.tensors(rng=False), before.tensors(rng=False)
    assert set(found) == set(wanted)
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_shards_over_two_processes_learn_what_one_process_learns(make_job: MakeJob) -> None:
    conf = SHAPES["llama, grouped, untied"]
    alone = trainer_of(make_job(model=conf, tokens=6 * 128))
    job = make_job("shards", conf, tokens=6 * 128, run={"processes": 2, "parallel": "fsdp"})
    assert launch(job)["world_size"] == 2
    losses = [row["loss"] for row in rows(job)]
    assert losses == pytest.approx([alone.update().loss for _ in range(6)], abs=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "greater than 0"),
        ({"depth": 2, "num_heads": 3}, "width=128 is not a multiple of num_heads=3"),
        ({"depth": 2, "num_heads": 4, "num_kv_heads": 3}, "num_heads=4 is not a multiple of num_kv_heads=3"),
        ({"depth": 2, "head_size": 5}, "multiple of 2"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_with_both_numbers(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        NativeConf(**options)  # type: ignore[arg-type]


def test_depth_sets_all_sizes_and_what_is_given_sets_those_that_follow() -> None:
    plain, wide = NativeConf(depth=12), NativeConf(depth=4, width=2048, num_heads=16, num_kv_heads=8)
    assert (plain.width, plain.num_heads, plain.num_kv_heads, plain.head_size, plain.intermediate_size) == (
        768,
        12,
        12,
        64,
        2048,
    )
    assert (wide.head_size, wide.intermediate_size) == (128, 5504)
    assert isinstance(plain.in_transformers(), ModelConf)
