"""Held-out bits per byte of a language model, beside gzip."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tasks.core.errors import ArtifactError, DataError
from tasks.core.events import result
from tasks.core.step import Stats
from tasks.core.workdir import Workdir
from tasks.evaluate import evaluation_inputs, scoring
from tasks.evaluate.bootstrap import with_interval
from tasks.evaluate.metric import bits_per_byte, perplexity
from tasks.evaluate.sampling import samples
from tasks.formats import evaluation
from tasks.models.causal_lm.lm_options import LmEval
from tasks.text.encode import Encoder


def score(model: Any, tokenizer: Any, table: pl.DataFrame, conf: LmEval) -> pl.DataFrame:
    """Items (id, source, bytes, tokens, nats), one for each document.

    A document is scored as pretraining reads it: after the end-of-text token of the one before, and with its own
    end-of-text token at its end, so that telling where a document stops is paid for. `bytes` are the text's in UTF-8.
    """
    eos = tokenizer.eos_token_id
    if eos is None:
        raise ArtifactError("the model's tokenizer has no end-of-text token: train the tokenizer again")
    texts = table["text"].to_list()
    ids = [[eos, *found, eos] for found in Encoder(tokenizer).texts(texts)]
    nats = scoring.token_nats(model, ids, conf)
    return table.select(
        "id",
        "source",
        pl.Series("bytes", [len(text.encode()) for text in texts], dtype=pl.Int64),
        pl.Series("tokens", [len(row) for row in nats], dtype=pl.Int64),
        pl.Series("nats", [float(row.sum()) for row in nats], dtype=pl.Float64),
    )


def gzip_nats(texts: Sequence[str]) -> list[float]:
    """What each document adds to gzip -9 of all as one stream, a line break between two: nats that sum to its size."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    written, before, added = 0, 0, []
    for number, text in enumerate(texts):
        written += len(packer.compress(("\n" * (number > 0) + text).encode()))
        size = written + len(packer.copy().flush())
        added.append(8 * math.log(2) * (size - before))
        before = size
    return added


def measure(items: pl.DataFrame, conf: LmEval | Any) -> dict[str, float]:
    """Bits per byte and perplexity with their intervals, and bits per byte of each source."""
    settings = (conf.resamples, conf.seed, conf.confidence)
    columns = items.select("nats", "bytes", "tokens").to_numpy().astype(np.float64)
    metrics = with_interval("bits_per_byte", columns, bits_per_byte, *settings)
    metrics |= with_interval("perplexity", columns, perplexity, *settings)
    for (source,), part in sorted(items.group_by("source", maintain_order=True)):
        columns = part.select("nats", "bytes", "tokens").to_numpy().astype(np.float64)
        metrics |= with_interval(f"bits_per_byte/{source}", columns, bits_per_byte, *settings)
    return metrics


def scored(model: Path, evalset: Path, conf: LmEval) -> tuple[Any, Any, pl.DataFrame, list[str]]:
    """The tokenizer, the network, and the items of the held-out documents with their texts."""
    device = scoring.set_up(conf.run)
    table = evaluation_inputs.held_out(evalset, conf.sources).select("id", "text", "source").collect()
    table = table.filter(pl.col("text").str.len_bytes() > 0)
    if table.is_empty():
        raise DataError(f"the evaluation set holds no document with a text; {evaluation_inputs.FROZEN}")
    tokenizer, network = scoring.load_tokenizer(model), scoring.load_causal(model, device)
    return tokenizer, network, score(network, tokenizer, table, conf), table["text"].to_list()


def run_start(start: Path, evalset: Path, conf: LmEval, work: Workdir) -> Stats:
    """Score the same documents by the model that training started from."""
    _, _, items, _ = scored(start, evalset, conf)
    return {"documents": items.height, "metrics": evaluation.write(work, items, measure(items, conf))}


def run(model: Path, evalset: Path, conf: LmEval, work: Workdir) -> Stats:
    """Score the held-out documents; write the evaluation with samples."""
    tokenizer, network, items, texts = scored(model, evalset, conf)
    items = items.with_columns(pl.Series("gzip_nats", gzip_nats(texts), dtype=pl.Float64))
    metrics = measure(items, conf)
    packed = items.select(pl.col("gzip_nats").alias("nats"), "bytes", "tokens").sum().to_numpy().astype(np.float64)
    metrics["gzip_bits_per_byte"] = float(bits_per_byte(packed[0]))
    metrics["beats_gzip"] = float(metrics["bits_per_byte"] < metrics["gzip_bits_per_byte"])
    begun = zip(conf.prompts, Encoder(tokenizer).texts(conf.prompts), strict=True)
    starts = [(prompt, [tokenizer.eos_token_id, *ids]) for prompt, ids in begun]
    wrote = samples(network, tokenizer, starts, conf.samples)
    metrics = evaluation.write(work, items, metrics, samples=wrote)
    result(
        f"{metrics['bits_per_byte']:.3f} bits per byte ({metrics['bits_per_byte_lo']:.3f} to "
        f"{metrics['bits_per_byte_hi']:.3f}), gzip -9 {metrics['gzip_bits_per_byte']:.3f}: the model "
        f"{'beats' if metrics['beats_gzip'] else 'does not beat'} gzip"
    )
    work.log_metrics(metrics)
    return {"documents": items.height, "bytes": int(items["bytes"].sum()), "metrics": metrics}
