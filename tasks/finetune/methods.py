"""Which weights of a network are tuned: all, adapters, or a head; and the network without adapters afterwards."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import AutoConfig
from transformers.pytorch_utils import Conv1D

from conf.scaling import NEW_NETWORK_RATE, tuning_rate
from conf.schema.finetune import StartNetwork, TuneConf
from conf.schema.methods import AdapterMethod, FullMethod, HeadMethod
from tasks.core.errors import ConfigError
from tasks.finetune.open_models import sort_of
from tasks.formats.model_folder import CONFIG_FILE
from tasks.training.network.model import blocks

C = TypeVar("C", bound=TuneConf)
Method = FullMethod | AdapterMethod | HeadMethod
STARTED = StartNetwork(kind="start")


def prepare(network: Any, method: Method, option: str, special: Sequence[int] = ()) -> Any:
    """The network as the method trains it: what is trained of it requires gradients, nothing else does.

    `option`: where the method stands in a recipe; `special`: ids of the tokens whose embeddings adapters train too.
    Raises `ConfigError` for a method that does not suit the network.
    """
    if isinstance(method, AdapterMethod):
        return with_adapters(network, method, special)
    head = {id(one) for module in heads(network).values() for one in module.parameters()}
    if isinstance(method, HeadMethod):
        for parameter in network.parameters():
            parameter.requires_grad_(id(parameter) in head)
        return network
    layers = blocks(network)
    if method.frozen_layers > len(layers):
        raise ConfigError(f"{option}.frozen_layers={method.frozen_layers}: the model has {len(layers)} layers")
    for module in layers[: method.frozen_layers]:
        module.requires_grad_(False)
    if method.frozen_layers:
        network.get_input_embeddings().requires_grad_(False)
    return network


def heads(network: Any) -> dict[str, nn.Module]:
    """What stands on the body of a network, by name: a fresh head of a classifier, an output layer."""
    children = {name: module for name, module in network.named_children() if module is not network.base_model}
    return {name: module for name, module in children.items() if any(True for _ in module.parameters())}


def with_adapters(network: Any, method: AdapterMethod, special: Sequence[int]) -> PeftModel:
    """Fresh adapters on the linear layers of the body; the head of a classifier is trained whole."""
    tokens: dict[str, Any] = {}
    if method.train_special_tokens and special:
        rows = sorted(row for row in special if row < network.get_input_embeddings().weight.shape[0])
        tokens["trainable_token_indices"] = dict.fromkeys(tables_of(network), rows)
    whole = [] if network.get_output_embeddings() is not None else list(heads(network))
    writes = network.get_output_embeddings()
    body = {id(module) for module in network.base_model.modules() if module is not writes}
    kinds: tuple[type[nn.Module], ...] = (nn.Linear, Conv1D)
    spec = LoraConfig(
        r=method.rank,
        lora_alpha=method.alpha,
        lora_dropout=method.dropout,
        use_dora=method.kind == "dora",
        use_rslora=method.kind == "rslora",
        target_modules=[name for name, one in network.named_modules() if isinstance(one, kinds) and id(one) in body],
        modules_to_save=whole or None,
        **tokens,
    )
    with warnings.catch_warnings():  # peft asks for what transformers now calls otherwise, and mends what it warns of
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to False", UserWarning)
        return get_peft_model(network, spec)


def tables_of(base: Any) -> list[str]:
    """The names of the modules by which a network reads and writes tokens; of one if both have the same weights."""
    reads, writes = base.get_input_embeddings(), base.get_output_embeddings()
    tables = [reads] if writes is None or writes.weight is reads.weight else [reads, writes]
    return [name.rpartition(".")[2] for name, module in base.named_modules() if any(module is one for one in tables)]


def merged(network: Any) -> Any:
    """The network without adapters, which are part of its weights now."""
    return network.merge_and_unload() if isinstance(network, PeftModel) else network


def rates_of(network: Any, method: Method) -> Mapping[str, float]:
    """The share of the learning rate that each parameter has, by name; those that are not there have all of it."""
    decay = method.layer_decay if isinstance(method, FullMethod) else 1.0
    if decay == 1.0:
        return {}
    layers = blocks(network)
    depth = {id(one): n for n, layer in enumerate(layers) for one in layer.parameters()}
    reads = {id(one) for one in network.get_input_embeddings().parameters()}
    lowest = {id(one): -1 for one in network.base_model.parameters() if id(one) in reads}
    found = {**depth, **lowest}
    return {
        name: decay ** (len(layers) - found[id(one)]) for name, one in network.named_parameters() if id(one) in found
    }


def rated(conf: C, model: Path, method: Method, *, fresh_head: bool = False) -> C:
    """The options with a number as learning rate, which `auto` stands for with the model in a folder; it is printed."""
    if conf.learning_rate != "auto":
        return conf
    if getattr(conf, "network", STARTED).kind != "start":
        return conf.model_copy(update={"learning_rate": NEW_NETWORK_RATE})
    config = AutoConfig.from_pretrained(model, local_files_only=True, trust_remote_code=False)
    sort = sort_of(json.loads((model / CONFIG_FILE).read_text())) or "masked"  # a body without head is tuned gently
    rate = tuning_rate(sort, int(config.hidden_size), method.kind, fresh_head=fresh_head)
    train = f"models.{conf.run.model}.train"
    print(f"learning rate {rate:g}: {train}.learning_rate=auto, width {config.hidden_size}, {method.kind}", flush=True)
    return conf.model_copy(update={"learning_rate": rate})
