from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from conf.compose import compose
from conf.model_size import as_transformers, count_parameters
from conf.schema.model import ModelConf, NativeConf, NetworkConf, NoiseConf
from conf.schema.pretrain import PretrainConf, PretrainRun, SegmentConf
from tasks.core.devices import Gpu
from tasks.core.errors import HostError
from tasks.pretrain import estimate
from tasks.training.network.model import build, config_of

SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
MODELS = [
    ModelConf(architecture="llama", config=SMALL),
    ModelConf(
        architecture="llama", config={**SMALL, "num_key_value_heads": 2, "attention_bias": True, "mlp_bias": True}
    ),
    ModelConf(architecture="llama", config={**SMALL, "head_dim": 16}, tie_embeddings=False),
    ModelConf(architecture="qwen3", config={**SMALL, "num_key_value_heads": 2, "head_dim": 8}),
    ModelConf(architecture="qwen3", config={"num_hidden_layers": 0, "hidden_size": 64}),
    ModelConf(architecture="gpt2", config={"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}),
    ModelConf(architecture="gpt2", config={"n_embd": 32, "n_layer": 2, "n_head": 2, "n_inner": 40}),
    ModelConf(architecture="bert", config=SMALL),
    ModelConf(architecture="bert", config={**SMALL, "type_vocab_size": 1}),
    ModelConf(architecture="bert"),
    ModelConf(architecture="roberta", config={**SMALL, "max_position_embeddings": 70}),
    ModelConf(architecture="t5"),
    ModelConf(architecture="t5", config={"d_model": 32, "d_ff": 48, "d_kv": 12, "num_heads": 2, "num_layers": 1}),
    ModelConf(architecture="t5", config={"d_model": 32, "num_decoder_layers": 3, "feed_forward_proj": "gated-gelu"}),
    ModelConf(architecture="t5", config={"d_model": 32, "num_decoder_layers": 0}, tie_embeddings=False),
    NativeConf(depth=2),
    NativeConf(
        depth=2,
        width=32,
        num_heads=4,
        num_kv_heads=2,
        head_size=12,
        intermediate_size=40,
        qk_norm=True,
        tie_embeddings=False,
    ),
]


@pytest.mark.parametrize("conf", MODELS)
def test_counted_parameters_are_those_of_the_built_model(conf: NetworkConf) -> None:
    with torch.device("meta"):
        network = build(conf, vocab_size=96, eos_id=0, seq_len=16, seed=0, pad_id=1)
    assert count_parameters(conf, 96) == sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("recipe", "millions"), [("gpt2_124m", 124), ("llama_350m", 351), ("llama_1b", 1074), ("llama_8b", 8030)]
)
def test_a_shipped_recipe_has_the_size_in_its_name_and_the_flops_of_its_matrices(recipe: str, millions: int) -> None:
    conf = compose(recipe, ("data.sources.mine.paths=[README.md]",))
    vocab, (segment,) = conf.tokenizer.vocab_size, conf.pretrain.chain(conf.model)
    seq_len = segment.segment.seq_len
    network = on_meta(conf.model, vocab)
    found = estimate.estimate(segment, vocab)
    assert found["parameters"] == sum(parameter.numel() for parameter in network.parameters())
    assert round((found["parameters"] or 0) / 1e6) == millions
    with FlopCounterMode(display=False) as counter:
        ids = torch.zeros((1, seq_len), dtype=torch.int64, device="meta")
        # A mask of its own, for on this device transformers cannot look for the borders of documents.
        mask = torch.ones((1, 1, seq_len, seq_len), dtype=torch.bool, device="meta")
        network(input_ids=ids, attention_mask=mask, use_cache=False)
    forward = counter.get_total_flops() / seq_len
    assert (found["flops"] or 0) / (found["tokens"] or 1) == pytest.approx(3 * forward, rel=0.01)
    assert 19 < (found["tokens"] or 0) / (found["parameters"] or 1) < 21


def on_meta(conf: NetworkConf, vocab: int) -> torch.nn.Module:
    """The network as transformers has it, without memory."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        found: torch.nn.Module = AutoModelForCausalLM.from_config(config_of(as_transformers(conf), vocab, 0))
    return found


def small(**run: object) -> PretrainConf:
    segment = SegmentConf(tokens=10_000, batch_tokens=1024, seq_len=128)
    return PretrainConf(model=MODELS[0], segment=segment, run=PretrainRun.model_validate(run))


def test_an_estimate_counts_whole_batches() -> None:
    found = estimate.estimate(small(), 96)
    assert found["tokens"] == 9 * 1024
    assert found["flops"] == 9 * 1024 * (6 * (found["parameters"] or 0) + 12 * 3 * 32 * 128)


def test_a_decoder_beside_an_encoder_costs_less_than_one_over_all_tokens_and_hiding_more_costs_more() -> None:
    t5, bert = ModelConf(architecture="t5"), ModelConf(architecture="bert")
    for conf in (t5, bert):
        flops, parameters = estimate.flops_per_token(conf, 32_000, 512), count_parameters(conf, 32_000)
        assert flops is not None and parameters is not None and 0.25 < flops / (6 * parameters) < 1
        more = conf.model_copy(update={"noise": NoiseConf(share=0.3)})
        assert estimate.flops_per_token(more, 32_000, 512) > flops  # type: ignore[operator]


def test_an_unknown_architecture_has_unknown_figures_but_known_tokens() -> None:
    conf = small().model_copy(update={"model": ModelConf(architecture="mistral")})
    found = estimate.estimate(conf, 96)
    assert found["tokens"] == 9 * 1024
    assert found["parameters"] is found["flops"] is found["memory_gb"] is None


def test_a_model_too_large_for_the_machine_is_refused_with_the_fix() -> None:
    huge = ModelConf(config={"hidden_size": 65_536, "num_hidden_layers": 200, "num_attention_heads": 64})
    with pytest.raises(HostError, match=r"lower pretrain\.run\.micro_batch"):
        estimate.refuse_if_too_large(small(device="cpu").model_copy(update={"model": huge}), 96)
    estimate.refuse_if_too_large(small(device="cpu"), 96)


def test_the_parts_of_the_memory_are_those_of_each_process_and_its_shard() -> None:
    billion = 1_074e6
    conf = compose("llama_1b", ("data.sources.mine.paths=[README.md]", "pretrain.run.device=cuda"))
    (whole,) = conf.pretrain.chain(conf.model)
    for parallel, share in (("fsdp", 8), ("auto", 8), ("ddp", 1)):
        run = whole.run.model_copy(update={"parallel": parallel, "processes": 8})
        held = estimate.memory(whole.model_copy(update={"run": run}), 32_768, gpu=True)
        assert held is not None and list(held) == list(estimate.PARTS)
        assert held["gradients"] == pytest.approx(4 * billion / share, rel=0.01)
        assert held["optimizer"] == 2 * held["gradients"]
        assert held["weights"] == pytest.approx(held["gradients"] + 2 * billion, rel=0.01), "bf16 copies of all weights"
    found = estimate.estimate(whole, 32_768)
    assert found["gradients_gb"] == pytest.approx(4 * 1.074 / whole.run.processes, rel=0.01)
    assert found["checkpoint_mb"] == pytest.approx(3 * 4 * 1074, rel=0.01)


def test_recomputing_and_half_precision_keep_less_and_an_average_of_the_weights_takes_its_place() -> None:
    def held(gpu: bool = True, ema: float | None = None, **run: object) -> dict[str, float]:
        conf = small(**run)
        segment = conf.segment.model_copy(update={"ema": ema})
        return estimate.memory(conf.model_copy(update={"segment": segment}), 96, gpu=gpu) or {}

    kept = [held(activation_checkpointing=mode)["activations"] for mode in ("none", "selective", "full")]
    assert kept == sorted(kept, reverse=True) and len(set(kept)) == 3
    assert held(precision="fp32")["activations"] == 2 * kept[0] and held(gpu=False)["activations"] == 4 * kept[0]
    assert held(ema=0.9)["optimizer"] == held()["optimizer"] + held()["gradients"]
    assert held(micro_batch=4)["activations"] == kept[0] / 2, "the batch has eight sequences"


def test_on_a_gpu_time_follows_from_its_speed_and_what_does_not_fit_is_refused_with_the_fix() -> None:
    conf, gpu = small(device="cuda", processes=2, micro_batch=4), Gpu("NVIDIA H100 80GB HBM3", 85.5)
    assert estimate.foretold_seconds(conf, 989e12 * 10, gpu) == pytest.approx(10 / 2 / estimate.EXPECTED_MFU)
    assert estimate.foretold_seconds(conf, 1e15, Gpu("a new one", 85.5)) is None
    estimate.refuse_if_too_large(conf, 96)
    estimate.refuse_if_too_large(conf, 96, 85.5)
    with pytest.raises(
        HostError, match=r"a GPU here has 0\.0: lower pretrain\.run\.micro_batch \(now 4\), set .*=full"
    ):
        estimate.refuse_if_too_large(conf, 96, 0.001)
    most = sum((estimate.memory(small(device="cuda", micro_batch=1), 96, gpu=True) or {}).values()) / 1e9
    probed = small(device="cuda", micro_batch=8, auto_micro_batch=True)
    estimate.refuse_if_too_large(probed, 96, most + 0.01)
    with pytest.raises(HostError, match=r"pretrain\.segments\.main: training"):
        estimate.refuse_if_too_large(small(device="cuda", micro_batch=8), 96, most / 2)


def test_of_shards_over_two_machines_each_holds_half() -> None:
    huge = ModelConf(config={"hidden_size": 65_536, "num_hidden_layers": 200, "num_attention_heads": 64})
    one, two = (
        estimate.estimate(small(parallel="fsdp", nodes=nodes).model_copy(update={"model": huge}), 96)["memory_gb"]
        for nodes in (1, 2)
    )
    assert one is not None and two == pytest.approx(one / 2, rel=0.02)


def test_declaring_and_estimating_load_nothing_heavy() -> None:
    code = (
        "import sys, tasks.pretrain.steps, tasks.pretrain.estimate, conf.schema.pretrain;"
        "print(sorted({'torch', 'numpy', 'transformers', 'psutil'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
