"""Held-out bits per byte of the answers that a chat model is meant to give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tasks.core.errors import DataError
from tasks.core.step import Stats
from tasks.core.workdir import Workdir
from tasks.evaluate import evaluation_inputs, scoring
from tasks.evaluate.bootstrap import with_interval
from tasks.evaluate.metric import bits_per_byte, perplexity
from tasks.evaluate.sampling import samples
from tasks.formats import evaluation
from tasks.models.chat.chat_options import ChatEval
from tasks.text.encode import Encoder


def score(model: Any, tokenizer: Any, table: pl.DataFrame, conf: ChatEval) -> pl.DataFrame:
    """Items (id, bytes, tokens, nats), one for each conversation with an answer.

    `nats` and `tokens` are those of the tokens that the chat template marks as the assistant's, the one that ends an
    answer included; `bytes` are the answers' in UTF-8. All of a conversation is scored, in windows if it is long.
    """
    rendered = Encoder(tokenizer).conversations(table["messages"].to_list())
    masks = [np.array(one.written[1:], dtype=bool) for one in rendered]
    nats = scoring.token_nats(model, [one.ids for one in rendered], conf)
    answers = [
        sum(len(turn["content"].encode()) for turn in messages if turn["role"] == "assistant")
        for messages in table["messages"].to_list()
    ]
    items = table.select(
        "id",
        pl.Series("bytes", answers, dtype=pl.Int64),
        pl.Series("tokens", [int(mask.sum()) for mask in masks], dtype=pl.Int64),
        pl.Series("nats", [float(row[mask].sum()) for row, mask in zip(nats, masks, strict=True)], dtype=pl.Float64),
    )
    return items.filter((pl.col("bytes") > 0) & (pl.col("tokens") > 0))


def measure(network: Path, model: Path, evalset: Path, conf: ChatEval) -> tuple[Any, Any, pl.DataFrame, dict[str, Any]]:
    """The tokenizer of `model`, the network in `network`, its items and metrics on the held-out conversations."""
    device = scoring.set_up(conf.run)
    evaluation_inputs.read_task(model, "chat")
    table = evaluation_inputs.held_out(evalset, conf.sources).select("id", "messages").collect()
    table = table.filter(pl.col("messages").list.len() > 1)
    tokenizer, loaded = scoring.load_tokenizer(model), scoring.load_causal(network, device)
    items = score(loaded, tokenizer, table, conf)
    if items.is_empty():
        raise DataError(f"the evaluation set holds no conversation with an answer; {evaluation_inputs.FROZEN}")
    columns = items.select("nats", "bytes", "tokens").to_numpy().astype(np.float64)
    settings = (conf.resamples, conf.seed, conf.confidence)
    metrics = with_interval("bits_per_byte", columns, bits_per_byte, *settings)
    metrics |= with_interval("perplexity", columns, perplexity, *settings)
    metrics["nats_per_byte"] = float(columns[:, 0].sum() / columns[:, 1].sum())
    return tokenizer, loaded, items, metrics


def run(model: Path, evalset: Path, conf: ChatEval, work: Workdir) -> Stats:
    """Score the held-out conversations; write the evaluation with samples."""
    tokenizer, network, items, metrics = measure(model, model, evalset, conf)
    asked = Encoder(tokenizer).conversations([[{"role": "user", "content": text}] for text in conf.prompts], ask=True)
    starts = [(prompt, one.ids) for prompt, one in zip(conf.prompts, asked, strict=True)]
    kept = evaluation.write(work, items, metrics, samples=samples(network, tokenizer, starts, conf.samples))
    work.log_metrics(kept)
    return _stats(items, kept)


def run_start(start: Path, model: Path, evalset: Path, conf: ChatEval, work: Workdir) -> Stats:
    """Score the conversations as `model` writes them by the network that it was fine-tuned from."""
    _, _, items, metrics = measure(start, model, evalset, conf)
    return _stats(items, evaluation.write(work, items, metrics))


def _stats(items: pl.DataFrame, metrics: dict[str, float]) -> Stats:
    return {"conversations": items.height, "answer_bytes": int(items["bytes"].sum()), "metrics": metrics}
