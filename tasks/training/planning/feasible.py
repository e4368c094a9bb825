"""Whether transformers can build the network, asked of its source: a plan has no time to import it."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from conf.model_size import DEFAULTS
from conf.schema.model import ModelConf, NativeConf, NetworkConf
from tasks.core.errors import ConfigError, nearest

NAMES = {"gpt2": ("n_embd", "n_head", "n_layer"), "t5": ("d_model", "num_heads", "num_layers")}
"""What an architecture calls its width, heads and layers, if not as most do."""
DECODERS = frozenset({"llama", "gpt2", "qwen2", "qwen3", "mistral", "phi3"})
"""Decoders whose insides are relied on: their logits are the last hidden state times the output matrix and nothing
else, and their attention hands everything that it is given to the kind of attention that is set."""
DROPOUT = {"gpt2": {"attn_pdrop": 0.1}}
"""Dropout of attention that transformers' defaults have."""
MAPPINGS = {"causal": "CAUSAL_LM", "masked": "MASKED_LM", "span": "SEQ_TO_SEQ_CAUSAL_LM"}
"""transformers' name for each objective."""


def refuse_if_impossible(conf: NetworkConf) -> None:
    """Raise `ConfigError` for an unknown architecture, a misspelt field, and sizes that do not divide."""
    if isinstance(conf, NativeConf):  # nothing is left to ask: its own model checks its sizes
        return
    known = models(conf.resolved_objective)
    if known and conf.architecture not in known:
        kind = "" if conf.objective is None else f" for model.objective={conf.objective}"
        near = nearest(conf.architecture, known)
        raise ConfigError(f"model.architecture: there is no {conf.architecture!r}{kind}{near}")
    fields = fields_of(conf.architecture)
    for name in conf.config:
        near = nearest(name, fields) if fields and name not in fields else ""
        if near.startswith("; did you mean"):
            raise ConfigError(f"model.config: {conf.architecture} has no field {name!r}{near}")
    if conf.architecture in DEFAULTS:
        _refuse_if_indivisible(conf)


def refuse_if_unattended(conf: NetworkConf, attention: str) -> None:
    """Raise `ConfigError` for a kind of attention that the network cannot have."""
    if attention in ("auto", "sdpa"):
        return
    why = None
    if isinstance(conf, NativeConf):
        why = "the native decoder has none" if attention == "flex" else None
    elif conf.resolved_objective != "causal" or conf.architecture not in DECODERS:
        why = f"it is for the native decoder and causal models of {', '.join(sorted(DECODERS))}"
        why = why.replace("the native decoder and ", "") if attention == "flex" else why
    elif dropout := attention_dropout({**DROPOUT.get(conf.architecture, {}), **conf.config}):
        why = f"it has no dropout of attention, and {dropout} is not 0 in model.config"
    if why is not None:
        raise ConfigError(f"pretrain.run.attention={attention}: {why}; set pretrain.run.attention=auto")


def attention_dropout(config: Mapping[str, Any]) -> str | None:
    """The field of a decoder's config that asks for dropout of attention, if there is one."""
    return next((name for name in ("attention_dropout", "attn_pdrop") if config.get(name)), None)


def _refuse_if_indivisible(conf: ModelConf) -> None:
    o = {**DEFAULTS[conf.architecture], **conf.config}
    width, heads, layers = NAMES.get(conf.architecture, ("hidden_size", "num_attention_heads", "num_hidden_layers"))
    for name in (width, heads, layers):
        if not isinstance(o[name], int) or o[name] < (1 if name in (width, heads) else 0):
            raise ConfigError(f"model.config.{name} must be a positive whole number (given: {o[name]!r})")
    pairs = o.get("num_key_value_heads") or o[heads]
    if o[width] % o[heads] and not (o.get("head_dim") or o.get("d_kv")):
        raise ConfigError(
            f"model.config: {width}={o[width]} is not a multiple of {heads}={o[heads]}: change one of them"
        )
    if o[heads] % pairs:
        raise ConfigError(
            f"model.config: {heads}={o[heads]} is not a multiple of num_key_value_heads={pairs}: change one of them"
        )


@cache
def models(objective: str) -> tuple[str, ...]:
    """The architectures that transformers has for an objective; none if its source does not say."""
    named = f"MODEL_FOR_{MAPPINGS[objective]}_MAPPING_NAMES"
    listed = re.search(rf"^{named}\b.*?^\)", _source("auto/modeling_auto.py"), re.M | re.S)
    return tuple(re.findall(r'^\s+\("([^"]+)",', listed[0], re.M)) if listed else ()


@cache
def fields_of(architecture: str) -> tuple[str, ...]:
    """The fields that an architecture's config declares; none if its source does not say."""
    tree = ast.parse(_source(f"{architecture}/configuration_{architecture}.py"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    declared = [node.target for found in classes for node in found.body if isinstance(node, ast.AnnAssign)]
    return tuple(target.id for target in declared if isinstance(target, ast.Name))


def _source(name: str) -> str:
    spec = find_spec("transformers")
    try:
        return (Path(str(spec.origin)).parent / "models" / name).read_text() if spec else ""
    except OSError:
        return ""
