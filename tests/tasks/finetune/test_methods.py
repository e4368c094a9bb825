from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from conf.schema.methods import AdapterMethod, FullMethod, HeadMethod
from tasks.core.errors import ConfigError
from tasks.finetune import methods
from tasks.finetune.methods import Method
from tasks.models.text_classification import classifier_training
from tasks.models.text_classification.classifier_options import ClassifyConf
from tests.tasks.finetune.families import CAUSAL, write_family

ADAPTERS = [
    AdapterMethod(kind="lora", rank=2),
    AdapterMethod(kind="dora", rank=2),
    AdapterMethod(kind="rslora", rank=4),
]
IDS = torch.tensor([[5, 9, 4, 17, 30]])


def causal(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def trained(network: Any) -> dict[str, torch.Tensor]:
    return {name: one for name, one in network.named_parameters() if one.requires_grad}


def stepped(network: Any) -> Any:
    """After one step of plain gradient descent on something."""
    network.eval()
    for _ in range(2):  # an adapter's first factor has no gradient before the second one is something
        network.zero_grad()
        network(input_ids=IDS).logits.float().logsumexp(-1).square().sum().backward()
        with torch.no_grad():
            for one in trained(network).values():
                if one.grad is not None:
                    one -= 0.01 * one.grad.sign()
    return network


@pytest.mark.parametrize("method", ADAPTERS, ids=lambda method: method.kind)
@pytest.mark.parametrize("family", CAUSAL)
def test_adapters_are_few_begin_as_nothing_and_are_in_the_weights_once_merged(
    family: str, method: AdapterMethod, tmp_path: Path
) -> None:
    folder = write_family(tmp_path / "model", family)
    start = causal(folder).eval()
    network = methods.prepare(causal(folder), method, "models.chat.method", special=[1, 2])
    named = trained(network)
    assert named and all("lora_" in name or "trainable_tokens" in name for name in named)
    assert any("trainable_tokens" in name for name in named)
    with torch.no_grad():
        before = start(input_ids=IDS).logits
        torch.testing.assert_close(network.eval()(input_ids=IDS).logits, before)
    stepped(network)
    with torch.no_grad():
        changed = network(input_ids=IDS).logits
        assert (changed - before).abs().max() > 1e-2
        merged = methods.merged(network)
        assert type(merged) is type(start)
        torch.testing.assert_close(merged(input_ids=IDS).logits, changed, atol=1e-4, rtol=1e-4)


def test_frozen_layers_and_embeddings_stay(tmp_path: Path) -> None:
    folder = write_family(tmp_path / "model", "llama")
    network = stepped(methods.prepare(causal(folder), FullMethod(kind="full", frozen_layers=1), "models.chat.method"))
    same = {name for name, one in causal(folder).named_parameters() if torch.equal(one, network.get_parameter(name))}
    assert same == {name for name, _ in network.named_parameters() if "layers.0." in name or "embed_tokens" in name}
    with pytest.raises(ConfigError, match=r"models\.chat\.method\.frozen_layers=3: the model has 2 layers"):
        methods.prepare(causal(folder), FullMethod(kind="full", frozen_layers=3), "models.chat.method")


def test_rates_fall_from_layer_to_layer_towards_the_embeddings(tmp_path: Path) -> None:
    network = causal(write_family(tmp_path / "model", "llama"))
    rates = methods.rates_of(network, FullMethod(kind="full", layer_decay=0.5))
    wanted = {"model.embed_tokens": 0.125, "model.layers.0.": 0.25, "model.layers.1.": 0.5}
    for name, _ in network.named_parameters():
        share = next((share for part, share in wanted.items() if name.startswith(part)), 1.0)
        assert rates.get(name, 1.0) == share, name
    assert methods.rates_of(network, FullMethod(kind="full")) == {}


@pytest.mark.parametrize("family", ["llama", "bert", "roberta"])
@pytest.mark.parametrize("method", [HeadMethod(kind="head"), *ADAPTERS], ids=lambda method: method.kind)
def test_of_a_classifier_the_head_is_always_trained_whole_and_of_the_body_what_the_method_says(
    family: str, method: Method, tmp_path: Path
) -> None:
    folder = write_family(tmp_path / "model", family)
    conf = ClassifyConf(method=method, ngrams=2, buckets=50)
    network = classifier_training.tuned_network(folder, ["a", "b"], 0, conf)
    start = classifier_training.make_network(folder, ["a", "b"], 0, conf)
    after = methods.merged(stepped(network))
    body = {id(one) for one in start.base_model.parameters()}
    changed = {name for name, one in start.named_parameters() if not torch.equal(one, after.get_parameter(name))}
    inside = {name for name, one in start.named_parameters() if id(one) in body}
    assert changed - inside, "the head"
    assert bool(changed & inside) == isinstance(method, AdapterMethod)
    assert all(name.endswith("weight") for name in changed & inside)
