"""Whole texts as examples: what stands around them, how long they may be."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from transformers import AutoModel, PreTrainedTokenizerFast

from conf.schema.finetune import StartNetwork, TextTuneConf
from tasks.core.number_format import share
from tasks.core.run_warnings import told
from tasks.finetune import export
from tasks.finetune.examples import Row
from tasks.finetune.open_models import sort_of
from tasks.finetune.pooled_classifier import PooledClassifier, PooledClassifierConfig
from tasks.finetune.preview import WHOLE
from tasks.formats.model_folder import CONFIG_FILE
from tasks.text.encode import Encoder
from tasks.text.text_models import cut, framed

CUT = 0.1
"""Over this share of texts that are cut is a warning."""
Frame = dict[str, list[int]]


def is_causal(model: Path) -> bool:
    """Whether the model in a folder was trained to continue text."""
    return sort_of(json.loads((model / CONFIG_FILE).read_text())) == "causal"


def frame(tokenizer: PreTrainedTokenizerFast, causal: bool) -> Frame:
    """What stands before (`prefix`) and behind (`suffix`) every text: of a causal model the token that each document
    begins with in pretraining, if there is one; of an encoder what its tokenizer puts around a text."""
    if causal:
        return {"prefix": [] if tokenizer.bos_token_id is None else [int(tokenizer.bos_token_id)]}
    (plain,), (whole,) = Encoder(tokenizer).texts(["a"]), Encoder(tokenizer).framed(["a"], most=1_000)
    at = next((n for n in range(len(whole)) if whole[n : n + len(plain)] == plain), 0)
    return {"prefix": whole[:at], "suffix": whole[at + len(plain) :]}


def encoder(tokenizer: PreTrainedTokenizerFast, causal: bool) -> Callable[[Sequence[str]], list[list[int]]]:
    """The function from texts to lists of token ids, whole, never empty."""
    around, encoder, pad = frame(tokenizer, causal), Encoder(tokenizer), export.pad_id(tokenizer)
    return lambda texts: [framed(ids, around, pad) for ids in encoder.texts(texts)]


def longest(lengths: Sequence[int], context: int | None, wanted: int | Literal["auto"], limit: int) -> int:
    """The tokens that a text is cut to, from the lengths of the training texts; `wanted` and `limit` are the options
    max_length and length_limit."""
    if wanted != "auto":
        return wanted
    fitting = math.ceil(float(np.percentile(lengths, WHOLE)))
    return min(max(fitting, 8), limit, context or limit)


def trimmed(rows: Sequence[Row], length: int, around: Frame) -> list[Row]:
    """Examples of at most `length` tokens: what is behind a text stays."""
    end = around.get("suffix", [])
    return [{**row, "input_ids": cut(row["input_ids"], length, end)} for row in rows]


def cut_warning(cut: int, texts: int, length: int, model: str) -> list[dict[str, str]]:
    """That many of the training texts are cut, if they are."""
    if cut <= CUT * texts:
        return []
    text = f"{share(cut, texts)} of the training texts are longer than {length} tokens: the rest of them is not read"
    return [told(text, f"models.{model}.train.length_limit or models.{model}.train.max_length")]


def pooled(model: Path, conf: TextTuneConf, outputs: dict[str, Any]) -> PooledClassifier:
    """The pretrained body in a folder, or the small network of the options, with a fresh head on its pooled states;
    seed before it. `outputs` are options of the config that name what the head says."""
    small, wide = conf.network, {"ngrams": conf.ngrams, "buckets": conf.buckets if conf.ngrams else 0}
    if not isinstance(small, StartNetwork):
        return _small(model, conf, {**wide, **outputs})
    body: Any = AutoModel.from_pretrained(
        model, dtype=torch.float32, local_files_only=True, use_safetensors=True, trust_remote_code=False
    )
    # where the body was read from is left out: equal models have equal bytes
    about = {name: value for name, value in body.config.to_diff_dict().items() if not name.startswith("_")}
    pooling = "mean" if conf.pooling == "auto" else conf.pooling
    network = PooledClassifier(PooledClassifierConfig(about, pooling, **wide, **outputs))
    network.body.load_state_dict(body.state_dict())
    return network


def _small(model: Path, conf: TextTuneConf, options: dict[str, Any]) -> PooledClassifier:
    """A small network with the tokenizer, and perhaps the embeddings, of the model in a folder."""
    small = conf.network
    assert not isinstance(small, StartNetwork)
    about, table = small.body(len(export.load_tokenizer(model))), None
    if small.embeddings == "start":
        body: Any = AutoModel.from_pretrained(
            model, dtype=torch.float32, local_files_only=True, use_safetensors=True, trust_remote_code=False
        )
        table = body.get_input_embeddings().weight.detach()
        about |= {"vocab_size": table.shape[0], "width": table.shape[1]}
    pooling = "mean_max" if conf.pooling == "auto" else conf.pooling
    network = PooledClassifier(PooledClassifierConfig(about, pooling, **options))
    if table is not None:
        network.body.load_state_dict({"embeddings.weight": table}, strict=False)
    return network
