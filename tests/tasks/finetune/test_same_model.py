"""Each way in which exports of other tools went wrong, and what is said of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from conf.schema.finetune import FinetuneRun
from tasks.core.errors import ConfigError, StepError
from tasks.core.workdir import Workdir
from tasks.finetune import export, methods, same_model
from tasks.models.chat import chat_training
from tasks.models.chat.chat_options import ChatConf
from tests.tasks.finetune.families import write_family
from tests.tasks.finetune.test_methods import causal, stepped
from tests.tasks.tiny_model import lora

ROWS = [{"input_ids": [5, 9, 4, 17, 30 + n], "labels": [-100, -100, 4, 17, 30 + n]} for n in range(3)]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return write_family(tmp_path / "base", "qwen2")  # its embeddings are tied


@pytest.fixture
def adapted(base: Path) -> Any:
    return stepped(methods.prepare(causal(base), lora(2), "models.chat.method", special=[1]))


def nothing(network: Any, base: Path, folder: Path) -> None:
    methods.merged(network).save_pretrained(folder)


def the_base(network: Any, base: Path, folder: Path) -> None:
    causal(base).save_pretrained(folder)


def unmerged(network: Any, base: Path, folder: Path) -> None:
    network.unload().save_pretrained(folder)


def merged_twice(network: Any, base: Path, folder: Path) -> None:
    """The adapter's update a second time on the weights that have it."""
    before = causal(base).state_dict()
    merged = methods.merged(network)
    weights = {name: 2 * value - before[name] for name, value in merged.state_dict().items()}
    merged.load_state_dict(weights)
    merged.save_pretrained(folder)


def into_other_weights(network: Any, base: Path, folder: Path) -> None:
    """Into those of a model of the same shape."""
    other = causal(write_family(folder.parent / "other", "qwen2", seed=1)).state_dict()
    before = causal(base).state_dict()
    merged = methods.merged(network)
    weights = {name: value - before[name] + other[name] for name, value in merged.state_dict().items()}
    merged.load_state_dict(weights)
    merged.save_pretrained(folder)


def at_another_precision(network: Any, base: Path, folder: Path) -> None:
    """Into a base that was quantized to 4 bits and back, as a QLoRA adapter is merged carelessly."""
    merged, before = methods.merged(network), causal(base).state_dict()
    for name, value in merged.state_dict().items():
        if value.ndim == 2:
            step = before[name].abs().max() / 7
            value += (before[name] / step).round() * step - before[name]
    merged.save_pretrained(folder)


def in_16_bits(network: Any, base: Path, folder: Path) -> None:
    methods.merged(network).to(torch.bfloat16).float().save_pretrained(folder)


def without_tied_embeddings(network: Any, base: Path, folder: Path) -> None:
    """The output layer is one of its own, as it was before training."""
    merged, before = methods.merged(network), causal(base).get_output_embeddings().weight.detach().clone()
    merged.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "lm_head.weight": before}, folder / "model.safetensors", {"format": "pt"})


def a_layer_short(network: Any, base: Path, folder: Path) -> None:
    merged = methods.merged(network)
    merged.config.layer_types = merged.config.layer_types[:1]
    merged.config.num_hidden_layers = 1
    merged.save_pretrained(folder)


WAYS = [the_base, unmerged, merged_twice, into_other_weights, at_another_precision, in_16_bits, without_tied_embeddings,
        a_layer_short]  # fmt: skip
Way = Callable[[Any, Path, Path], None]


def proof(network: Any, base: Path, folder: Path, way: Way) -> dict[str, float]:
    start, trained = same_model.outputs(causal(base), ROWS), same_model.outputs(network, ROWS)
    way(network, base, folder)
    return same_model.prove(folder, AutoModelForCausalLM, ROWS, start, trained, "chat")


def test_what_was_trained_is_what_was_written(adapted: Any, base: Path, tmp_path: Path) -> None:
    found = proof(adapted, base, tmp_path / "written", nothing)
    assert found["same_model"] < 1e-4 < 1e-2 < found["learnt"]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_what_went_wrong_elsewhere_is_refused_here(way: Way, adapted: Any, base: Path, tmp_path: Path) -> None:
    with pytest.raises(StepError, match="not the model that was trained") as refused:
        proof(adapted, base, tmp_path / "written", way)
    assert ("training started from" in str(refused.value)) == (way in (the_base, unmerged))


def test_training_that_changed_nothing_is_refused(base: Path, tmp_path: Path) -> None:
    network = methods.prepare(causal(base), lora(2), "models.chat.method")
    with pytest.raises(ConfigError, match=r"changed nothing .* raise models\.chat\.train\.learning_rate"):
        proof(network, base, tmp_path / "written", nothing)


def test_a_template_other_than_in_training_is_refused(
    model_dir: Path, docs_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save = export.save

    def other(network: Any, tokenizer_from: Path, folder: Path, task: Any) -> None:
        save(network, tokenizer_from, folder, task)
        template = folder / "chat_template.jinja"
        template.write_text(template.read_text().replace("<|user|>", "<|user|> "))

    monkeypatch.setattr(export, "save", other)
    conf = ChatConf(batch_size=8, learning_rate=0.01, method=lora(2), run=FinetuneRun(device="cpu", threads=1))
    work = Workdir(tmp_path / "work")
    work.make()
    with pytest.raises(StepError, match="reads conversations otherwise than the one trained with"):
        chat_training.run(model_dir, [docs_dir], conf, work)
