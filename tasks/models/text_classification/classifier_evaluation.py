"""A classifier on held-out documents, beside the majority class and naive Bayes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from tasks.core.errors import DataError
from tasks.core.step import Stats
from tasks.core.workdir import Workdir
from tasks.evaluate import evaluation_inputs, scoring
from tasks.evaluate.bootstrap import Floats
from tasks.formats import evaluation
from tasks.formats.documents import scanned
from tasks.models import text_outputs
from tasks.models.text_classification import baselines, quality
from tasks.models.text_classification.classifier_options import ClassifierEval
from tasks.models.text_classification.labels import Truth, each_label, labels_of, truth_of

OF_BASELINES = ("accuracy", "macro_f1", "roc_auc", "accuracy_lo", "accuracy_hi")
"""Which measures of the baselines are told."""


def known(table: pl.LazyFrame, task: dict[str, Any]) -> pl.DataFrame:
    """(id, text, label) of the documents whose label the model knows, names hidden, in order of id; where a text may
    have several, label is a list of those that it knows."""
    hidden, names = re.compile(task["mask_pattern"]), list(task["labels"])
    found = labels_of(table, task.get("several", False))
    if task.get("several"):
        kept = [[label for label in held if label in names] for held in found["label"].to_list()]
        found = found.with_columns(pl.Series("label", kept, dtype=pl.List(pl.String)))
    else:
        found = found.filter(pl.col("label").is_in(names))
    return found.with_columns(
        pl.Series("text", [hidden.sub(task["mask"], text) for text in found["text"]], dtype=pl.String)
    )


def training_documents(paths: Iterable[Path], task: dict[str, Any]) -> pl.DataFrame:
    """The documents that the model was trained on: the first `max_per_class` of each label, in order of id."""
    table = known(scanned(paths), task)
    if task["max_per_class"] is None:
        return table
    return table.filter(pl.int_range(pl.len()).over("label") < task["max_per_class"])


def probabilities(model: Any, tokenizer: Any, texts: Sequence[str], task: dict[str, Any], batch_tokens: int) -> Floats:
    """(texts, labels) in float64, in the order of the texts."""
    said = torch.from_numpy(text_outputs.logits(model, tokenizer, texts, task, batch_tokens))
    found: Floats = (torch.sigmoid(said) if task.get("several") else torch.softmax(said, dim=-1)).numpy()
    return found


def run(model: Path, evalset: Path, train: Sequence[Path], conf: ClassifierEval, work: Workdir) -> Stats:
    """Classify the held-out documents; write the evaluation, with confusions and calibration."""
    device = scoring.set_up(conf.run)
    task = evaluation_inputs.read_task(model, "classification")
    everything = evaluation_inputs.held_out(evalset, conf.sources)
    table = known(everything, task)
    if table.is_empty():
        raise DataError(
            f"the evaluation set holds no document labelled with one of {task['labels']}; {evaluation_inputs.FROZEN}"
        )
    network, tokenizer = text_outputs.load(model, device)
    predicted = probabilities(network, tokenizer, table["text"].to_list(), task, conf.batch_tokens)
    guesses, truth = _baselines(table, train, task, conf), truth_of(table["label"], task["labels"])
    several = task.get("several", False)
    metrics = quality.measure(predicted, truth, conf, several)
    for name, guess in guesses.items():
        found = quality.measure(guess, truth, conf, several)
        metrics |= {f"{name}_{metric}": value for metric, value in found.items() if metric in OF_BASELINES}
    there = each_label(labels_of(everything, several)["label"])
    metrics["unknown_labels"] = float(len(there.filter(~there.is_in(task["labels"]))))
    items = _items(table, truth, {"": predicted, **{f"{name}_": guess for name, guess in guesses.items()}}, task)
    metrics = evaluation.write(
        work, items, metrics,
        confusion=None if several else _confusion(predicted, truth, task["labels"]),
        calibration=None if several else quality.calibration(predicted, truth, conf.bins),
    )  # fmt: skip
    work.log_metrics(metrics)
    return {"documents": table.height, "classes": len(task["labels"]), "metrics": metrics}


def _baselines(
    table: pl.DataFrame, train: Sequence[Path], task: dict[str, Any], conf: ClassifierEval
) -> dict[str, Floats]:
    """What each baseline, trained on what the model was trained on, takes the documents for: probabilities."""
    seen, several = training_documents(train, task), task.get("several", False)
    truth, asked = truth_of(seen["label"], task["labels"]), table["text"].to_list()
    known = seen["text"].to_list()
    return {
        "majority": baselines.majority(truth, table.height),
        "naive_bayes": baselines.naive_bayes(known, truth, asked, conf.smoothing, conf.vocabulary, several=several),
        "logistic": baselines.logistic(known, truth, asked, conf.vocabulary, several=several),
    }


def _items(table: pl.DataFrame, truth: Truth, guesses: dict[str, Floats], task: dict[str, Any]) -> pl.DataFrame:
    """Of each item its label, and by each guess, whose name stands before: predicted, nats, correct."""
    names, several, columns = task["labels"], task.get("several", False), list[pl.Series]()
    for prefix, guess in guesses.items():
        chosen = quality.chosen(guess, several)
        held = [[name for name, is_one in zip(names, row, strict=True) if is_one] for row in chosen]
        said = pl.Series(f"{prefix}predicted", held, dtype=pl.List(pl.String))
        columns += [
            said if several else said.list.first(),
            pl.Series(f"{prefix}nats", quality.nats(guess, truth, several), dtype=pl.Float64),
            pl.Series(f"{prefix}correct", (chosen == truth).all(axis=1), dtype=pl.Boolean),
        ]
    return table.select("id", "label", *columns)


def _confusion(predicted: Floats, truth: Truth, labels: Sequence[str]) -> dict[str, Any]:
    matrix = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(matrix, (truth.argmax(axis=1), predicted.argmax(axis=1)), 1)
    return {"labels": list(labels), "matrix": matrix.tolist()}
