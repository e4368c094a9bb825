"""Which of two held-out answers a model finds likelier, by token."""

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
from tasks.evaluate.metric import ItemMetric, mean, ratio
from tasks.evaluate.sampling import samples
from tasks.formats import evaluation
from tasks.models.preference import preference_metrics
from tasks.models.preference.pairs import encode, pairs_of
from tasks.models.preference.preference_options import PreferenceEval
from tasks.text.encode import Encoder

ACCURACY = ItemMetric(
    preference_metrics.ACCURACY, ("correct",), lambda items: ratio(items, "correct", pl.lit(1.0)), mean
)
MARGIN = ItemMetric(preference_metrics.MARGIN, ("margin",), lambda items: ratio(items, "margin", pl.lit(1.0)), mean)


def score(model: Any, tokenizer: Any, evalset: Path, conf: PreferenceEval) -> pl.DataFrame:
    """Items (id, chosen_nats, chosen_tokens, rejected_nats, rejected_tokens, margin, correct, longer_correct), one for
    each pair: nats of whole last answers, the token that ends one included; margin: by how many nats per token the
    chosen one is the likelier. Raises `DataError` where there is no pair."""
    pairs = pairs_of([evalset], conf.sources)
    if not pairs:
        raise DataError(f"the evaluation set holds no pair of answers; {evaluation_inputs.FROZEN}")
    encoded = encode(pairs, Encoder(tokenizer))
    nats = scoring.token_nats(model, [ids for one in encoded for ids in (one.chosen, one.rejected)], conf)
    rows = []
    for n, (pair, one) in enumerate(zip(pairs, encoded, strict=True)):
        own: dict[str, Any] = {"id": pair.id}
        for side, name in enumerate(("chosen", "rejected")):
            said = nats[2 * n + side][one.begin - 1 :]
            own |= {f"{name}_nats": float(said.sum()), f"{name}_tokens": len(said)}
        rows.append({**own, "longer_correct": _letters(pair.chosen) > _letters(pair.rejected)})
    by_token = {name: pl.col(f"{name}_nats") / pl.col(f"{name}_tokens") for name in ("chosen", "rejected")}
    items = pl.DataFrame(rows).with_columns(margin=by_token["rejected"] - by_token["chosen"])
    return items.with_columns(correct=pl.col("margin") > 0)


def _letters(messages: list[dict[str, str]]) -> int:
    return len(messages[-1]["content"])


def measured(items: pl.DataFrame, conf: PreferenceEval) -> dict[str, float]:
    """preference_accuracy and preference_margin, each with _lo and _hi, and the accuracy of the longer answer."""
    settings, found = (conf.resamples, conf.seed, conf.confidence), dict[str, float]()
    for one in (ACCURACY, MARGIN):
        found |= with_interval(one.name, one.columns(items), one.value, *settings)
    longer = np.stack([items["longer_correct"].to_numpy().astype(np.float64), np.ones(items.height)], axis=1)
    return found | with_interval(f"longer_{ACCURACY.name}", longer, mean, *settings)


def run(model: Path, evalset: Path, conf: PreferenceEval, work: Workdir) -> Stats:
    """Score the held-out pairs; write the evaluation with samples."""
    network, tokenizer, items = _scored(model, model, evalset, conf)
    asked = Encoder(tokenizer).conversations([[{"role": "user", "content": text}] for text in conf.prompts], ask=True)
    starts = [(prompt, one.ids) for prompt, one in zip(conf.prompts, asked, strict=True)]
    said = samples(network, tokenizer, starts, conf.samples)
    metrics = evaluation.write(work, items, measured(items, conf), samples=said)
    work.log_metrics(metrics)
    return {"pairs": items.height, "metrics": metrics}


def run_start(start: Path, model: Path, evalset: Path, conf: PreferenceEval, work: Workdir) -> Stats:
    """Score the pairs as `model` writes them by the network that it was trained from."""
    *_, items = _scored(start, model, evalset, conf)
    return {"pairs": items.height, "metrics": evaluation.write(work, items, measured(items, conf))}


def _scored(network: Path, model: Path, evalset: Path, conf: PreferenceEval) -> tuple[Any, Any, pl.DataFrame]:
    device = scoring.set_up(conf.run)
    evaluation_inputs.read_task(model, "preference")
    tokenizer, loaded = scoring.load_tokenizer(model), scoring.load_causal(network, device)
    return loaded, tokenizer, score(loaded, tokenizer, evalset, conf)
