"""The numbers that a model says of held-out documents, beside the mean and ridge regression over TF-IDF."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.linear_model import Ridge

from tasks.core.errors import DataError
from tasks.core.step import Stats
from tasks.core.workdir import Workdir
from tasks.evaluate import evaluation_inputs, scoring
from tasks.evaluate.bootstrap import Floats
from tasks.formats import evaluation
from tasks.formats.documents import scanned
from tasks.models import text_outputs, word_counts
from tasks.models.text_regression.number_options import RegressionEval
from tasks.models.text_regression.numbers import measure, numbers_of


def run(model: Path, evalset: Path, train: Sequence[Path], conf: RegressionEval, work: Workdir) -> Stats:
    """Say the numbers of the held-out documents; write the evaluation."""
    device = scoring.set_up(conf.run)
    task = evaluation_inputs.read_task(model, "regression")
    table = numbers_of(evaluation_inputs.held_out(evalset, conf.sources))
    if table.is_empty():
        raise DataError(f"the evaluation set holds no document with a number; {evaluation_inputs.FROZEN}")
    network, tokenizer = text_outputs.load(model, device)
    said = text_outputs.logits(network, tokenizer, table["text"].to_list(), task, conf.batch_tokens)[:, 0]
    seen = numbers_of(scanned(train))[: task["max_documents"]]
    guesses = {"": said, **{f"{name}_": guess for name, guess in baselines(seen, table, conf.vocabulary).items()}}
    items, metrics = table.select("id", "number"), dict[str, float]()
    for prefix, guess in guesses.items():
        error = np.abs(guess - table["number"].to_numpy())
        own = items.select("number").with_columns(pl.Series("error", error))
        metrics |= {f"{prefix}{name}": value for name, value in measure(own, conf).items()}
        items = items.with_columns(pl.Series(f"{prefix}predicted", guess), pl.Series(f"{prefix}error", error))
    metrics = evaluation.write(work, items, metrics)
    work.log_metrics(metrics)
    return {"documents": table.height, "metrics": metrics}


def baselines(seen: pl.DataFrame, asked: pl.DataFrame, vocabulary: int) -> dict[str, Floats]:
    """What each baseline, trained on the numbers of the texts that were seen, says of those that are asked for."""
    numbers = seen["number"].to_numpy()
    known, unknown = word_counts.tfidf(seen["text"].to_list(), asked["text"].to_list(), vocabulary)
    return {
        "mean": np.full(asked.height, numbers.mean()),
        "ridge": Ridge(alpha=1.0, solver="lsqr", random_state=0).fit(known, numbers).predict(unknown),
    }
