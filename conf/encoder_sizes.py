"""Parameters and work of the networks that are trained on noised texts, counted from the config alone: no torch."""

from __future__ import annotations

from typing import Any, NamedTuple

from conf.schema.model import ModelConf

BERT: dict[str, Any] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
}
DEFAULTS: dict[str, dict[str, Any]] = {
    "bert": BERT,
    "roberta": BERT,
    "t5": {
        "d_model": 512,
        "d_kv": 64,
        "d_ff": 2048,
        "num_layers": 6,
        "num_decoder_layers": None,
        "num_heads": 8,
        "relative_attention_num_buckets": 32,
        "feed_forward_proj": "relu",
    },
}
"""transformers' own defaults, for the fields that the count needs."""


class Size(NamedTuple):
    """A network in numbers."""

    parameters: int
    """Tied ones once."""
    flops: float
    """Forward and backward, of a token of the text."""
    layers: int
    width: int


def measure(conf: ModelConf, vocab_size: int, seq_len: int) -> Size:
    """The size of a bert, roberta or t5 with a vocabulary, and its work on sequences of `seq_len` tokens of text.

    FLOPs are 6 for each weight that a token is multiplied with, and 12 layers·width·length of attention (Chowdhery et
    al., PaLM, 2022, appendix B). The output layer sees hidden tokens only.
    """
    o = {**DEFAULTS[conf.architecture], **conf.config}
    return (_t5 if conf.architecture == "t5" else _bert)(o, conf, vocab_size, seq_len)


def _bert(o: dict[str, Any], conf: ModelConf, vocab_size: int, seq_len: int) -> Size:
    width, inner, layers = o["hidden_size"], o["intermediate_size"], o["num_hidden_layers"]
    tables = (vocab_size + o["max_position_embeddings"] + o["type_vocab_size"]) * width
    layer = 4 * (width * width + width) + 2 * width * inner + inner + width + 4 * width
    head = width * width + 3 * width + vocab_size
    restored = conf.noise.share * (width * width + vocab_size * width)
    work = 6 * (layers * layer + restored) + 12 * layers * width * seq_len
    return Size(tables + 2 * width + layers * layer + head, work, layers, width)


def _t5(o: dict[str, Any], conf: ModelConf, vocab_size: int, seq_len: int) -> Size:
    width, attended = o["d_model"], o["num_heads"] * o["d_kv"]
    encoders = o["num_layers"]
    decoders = encoders if o["num_decoder_layers"] is None else o["num_decoder_layers"]
    inner = (3 if o["feed_forward_proj"].startswith("gated-") else 2) * width * o["d_ff"]
    attention, bias = 4 * width * attended, o["relative_attention_num_buckets"] * o["num_heads"]
    encoder, decoder = attention + inner + 2 * width, 2 * attention + inner + 3 * width
    biases = bias * ((encoders > 0) + (decoders > 0))
    parameters = vocab_size * width + encoders * encoder + decoders * decoder + biases + 2 * width
    sentinels = conf.noise.share / conf.noise.span
    read, written = 1 - conf.noise.share + sentinels, conf.noise.share + sentinels
    # Keys and values of what was read are made for every token of that, once for each layer of the decoder.
    weights = read * (encoders * encoder + decoders * attention / 2) + written * (
        decoders * (decoder - attention / 2) + vocab_size * width
    )
    scores = encoders * read * read + decoders * written * (written + read)
    return Size(int(parameters), 6 * weights + 12 * attended * scores * seq_len, encoders + decoders, width)
