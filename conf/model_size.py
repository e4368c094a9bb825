"""How many parameters a network has, counted from its options alone."""

from __future__ import annotations

from typing import Any

from conf import encoder_sizes
from conf.schema.model import ModelConf, NativeConf, NetworkConf

DEFAULTS: dict[str, dict[str, Any]] = {
    "llama": {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32},
    "qwen3": {
        "hidden_size": 4096,
        "intermediate_size": 22016,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "head_dim": 128,
    },
    "gpt2": {"n_embd": 768, "n_layer": 12, "n_head": 12, "n_positions": 1024},
    **encoder_sizes.DEFAULTS,
}
"""transformers' own defaults, for the fields that the count needs."""


def as_transformers(conf: NetworkConf) -> ModelConf:
    """The network as transformers has it, which is how its sizes are counted here."""
    return conf.in_transformers() if isinstance(conf, NativeConf) else conf


def options_of(conf: ModelConf) -> dict[str, Any]:
    """Its config over transformers' own defaults."""
    return {**DEFAULTS[conf.architecture], **conf.config}


def count_parameters(conf: NetworkConf, vocab_size: int) -> int | None:
    """Parameters of the network, tied ones once; None for an architecture whose count is not known here."""
    conf = as_transformers(conf)
    if conf.architecture not in DEFAULTS:
        return None
    if conf.architecture in encoder_sizes.DEFAULTS:
        return encoder_sizes.measure(conf, vocab_size, 0).parameters
    o = options_of(conf)
    head = 0 if conf.tie_embeddings else 1
    if conf.architecture == "gpt2":
        width, layers = o["n_embd"], o["n_layer"]
        inner = o.get("n_inner") or 4 * width
        layer = 4 * width + (4 * width * width + 4 * width) + (2 * width * inner + width + inner)
        return int((1 + head) * vocab_size * width + o["n_positions"] * width + layers * layer + 2 * width)
    width, heads = o["hidden_size"], o["num_attention_heads"]
    size = o.get("head_dim") or width // heads
    pairs = o.get("num_key_value_heads") or heads
    attention = width * size * (2 * heads + 2 * pairs)
    norms = 2 * width + (2 * size if conf.architecture == "qwen3" else 0)
    if o.get("attention_bias"):
        attention += size * (heads + 2 * pairs) + width
    mlp = 3 * width * o["intermediate_size"] + (2 * o["intermediate_size"] + width if o.get("mlp_bias") else 0)
    return int((1 + head) * vocab_size * width + o["num_hidden_layers"] * (attention + mlp + norms) + width)
