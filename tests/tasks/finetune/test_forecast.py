"""What a plan says that tuning takes is what torch counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM

from conf.schema.finetune import TextTuneConf
from conf.schema.methods import AdapterMethod, FullMethod, HeadMethod
from tasks.finetune import export, methods
from tasks.finetune.forecast import forecast
from tasks.models.causal_lm.lm_options import LmConf
from tasks.text.encode import Encoder
from tests.tasks.finetune.families import write_family
from tests.tasks.tiny_model import write_model

METHODS: dict[str, Any] = {
    "full": FullMethod(kind="full"),
    "frozen": FullMethod(kind="full", frozen_layers=1),
    "lora": AdapterMethod(kind="lora", rank=4, train_special_tokens=False),
    "dora": AdapterMethod(kind="dora", rank=4, train_special_tokens=False),
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2", "mistral"])
def test_parameters_and_the_trained_share_are_counted_right(tmp_path: Path, family: str, method: Any) -> None:
    folder = write_family(tmp_path / family, family)
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    whole = sum(one.numel() for one in network.parameters())
    tuned = methods.prepare(network, method, "models.own.method")
    found = forecast(folder, folder / "tokenizer.json", ["a b"], 1, LmConf(), method, writes=True)
    assert found["parameters"] == whole
    assert found["trained"] == sum(one.numel() for one in tuned.parameters() if one.requires_grad)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_flops_are_about_those_that_torch_counts(tmp_path: Path, method: str) -> None:
    folder, text = write_model(tmp_path / "model", hidden=128), "array axis shape dtype " * 8
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tuned = methods.prepare(network, METHODS[method], "models.own.method")
    ids = torch.tensor(Encoder(export.load_tokenizer(folder)).texts([text]))
    with FlopCounterMode(display=False) as counter:
        tuned(input_ids=ids).logits.sum().backward()
    found = forecast(folder, folder / "tokenizer.json", [text] * 3, 6, LmConf(epochs=2), METHODS[method], writes=True)
    assert found["tokens"] == 12 * ids.shape[1]
    # the output layer of a tied embedding is counted with the embedding: of neither
    head = 6 * ids.shape[1] * network.get_output_embeddings().weight.numel() if method == "full" else 0
    assert found["flops"] / 12 == pytest.approx(counter.get_total_flops() - head, rel=0.35)


def test_texts_count_as_far_as_they_are_read(model_dir: Path) -> None:
    def tokens(**options: Any) -> float:
        conf, words = TextTuneConf(**options), ["array " * 40]
        how: Any = (conf, FullMethod(kind="full"))
        return forecast(model_dir, model_dir / "tokenizer.json", words, 1, *how, writes=False)["tokens"]

    assert tokens(max_length=16) == 16 and tokens(length_limit=24) == 24
    assert tokens(length_limit=512) == tokens(length_limit=64)  # the model's context


def test_a_head_and_a_small_network_take_less(model_dir: Path) -> None:
    def found(method: Any, **options: Any) -> dict[str, float]:
        return forecast(
            model_dir, model_dir / "tokenizer.json", ["array " * 20], 9, TextTuneConf(**options), method, writes=False
        )

    full = found(FullMethod(kind="full"))
    assert found(HeadMethod(kind="head"))["flops"] == pytest.approx(full["flops"] / 3)
    small = found(FullMethod(kind="full"), network={"kind": "cnn", "width": 4, "channels": 2})
    assert small["trained"] == small["parameters"] != full["parameters"]
