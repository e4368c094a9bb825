"""Whether transformers can build the network, asked of its source: a plan has no time to import it."""

from __future__ import annotations

import ast
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from conf.schema.model import ModelConf, NativeConf, NetworkConf
from tasks.core.errors import ConfigError, nearest
from tasks.pretrain.estimate import DEFAULTS


def refuse_if_impossible(conf: NetworkConf) -> None:
    """Raise `ConfigError` for an unknown architecture, a misspelt field, and sizes that do not divide."""
    if isinstance(conf, NativeConf):  # nothing is left to ask: its own model checks its sizes
        return
    known = causal_models()
    if known and conf.architecture not in known:
        raise ConfigError(f"model.architecture: there is no {conf.architecture!r}{nearest(conf.architecture, known)}")
    fields = fields_of(conf.architecture)
    for name in conf.config:
        near = nearest(name, fields) if fields and name not in fields else ""
        if near.startswith("; did you mean"):
            raise ConfigError(f"model.config: {conf.architecture} has no field {name!r}{near}")
    if conf.architecture in DEFAULTS:
        _refuse_if_indivisible(conf)


def _refuse_if_indivisible(conf: ModelConf) -> None:
    o = {**DEFAULTS[conf.architecture], **conf.config}
    gpt = conf.architecture == "gpt2"
    width, heads = ("n_embd", "n_head") if gpt else ("hidden_size", "num_attention_heads")
    for name in (width, heads, "n_layer" if gpt else "num_hidden_layers"):
        if not isinstance(o[name], int) or o[name] < (1 if name in (width, heads) else 0):
            raise ConfigError(f"model.config.{name} must be a positive whole number (given: {o[name]!r})")
    pairs = o.get("num_key_value_heads") or o[heads]
    if o[width] % o[heads] and not o.get("head_dim"):
        raise ConfigError(
            f"model.config: {width}={o[width]} is not a multiple of {heads}={o[heads]}: change one of them"
        )
    if o[heads] % pairs:
        raise ConfigError(
            f"model.config: {heads}={o[heads]} is not a multiple of num_key_value_heads={pairs}: change one of them"
        )


@cache
def causal_models() -> tuple[str, ...]:
    """The architectures that transformers has as causal language models; none if its source does not say."""
    listed = re.search(r"^MODEL_FOR_CAUSAL_LM_MAPPING_NAMES\b.*?^\)", _source("auto/modeling_auto.py"), re.M | re.S)
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
