"""A classifier on held-out documents, beside the majority class and naive Bayes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from transformers import AutoModelForSequenceClassification

from tasks.core.errors import DataError
from tasks.core.step import Stats
from tasks.core.workdir import Workdir
from tasks.evaluate import evaluation_inputs, scoring
from tasks.evaluate.bootstrap import Floats
from tasks.formats import evaluation
from tasks.formats.model_folder import refuse_foreign
from tasks.models.text_classification import baselines, quality
from tasks.models.text_classification import pooled_classifier as pooled_classifier  # transformers learns to load it
from tasks.models.text_classification.classifier_options import ClassifierEval
from tasks.models.text_classification.labelling import OWN_HEAD, cut, framed
from tasks.text.encode import Encoder

OF_BASELINES = ("accuracy", "macro_f1", "roc_auc", "accuracy_lo", "accuracy_hi")
"""Which measures of the baselines are told."""


def known(table: pl.LazyFrame, task: dict[str, Any]) -> pl.DataFrame:
    """(id, text, label, number) of the documents whose label the model knows, names hidden, in order of id."""
    hidden = re.compile(task["mask_pattern"])
    found = table.select("id", "text", "label").filter(pl.col("label").is_in(task["labels"])).sort("id").collect()
    number = {label: n for n, label in enumerate(task["labels"])}
    return found.with_columns(
        pl.Series("text", [hidden.sub(task["mask"], text) for text in found["text"]], dtype=pl.String),
        pl.Series("number", [number[label] for label in found["label"]], dtype=pl.Int64),
    )


def training_documents(paths: Iterable[Path], task: dict[str, Any]) -> pl.DataFrame:
    """The documents that the model was trained on: the first `max_per_class` of each label, in order of id."""
    table = known(pl.concat([pl.scan_parquet(path).select("id", "text", "label") for path in paths]), task)
    if task["max_per_class"] is None:
        return table
    return table.filter(pl.int_range(pl.len()).over("label") < task["max_per_class"])


def probabilities(model: Any, tokenizer: Any, texts: Sequence[str], task: dict[str, Any], batch_tokens: int) -> Floats:
    """(texts, labels) in float64, in the order of the texts, each encoded as in training."""
    pad = model.config.pad_token_id
    most, end = task["max_length"], task.get("suffix", ())
    ids = [cut(framed(row, task, pad), most, end) for row in Encoder(tokenizer).texts(texts, most)]
    result = np.zeros((len(ids), model.config.num_labels))
    whole = [(n, 0, len(row), 1) for n, row in enumerate(ids)]
    with torch.inference_mode():
        for batch in scoring.followed(scoring.batches(whole, batch_tokens)):
            width = batch[0][2]
            filled = [[*ids[n], *[pad] * (width - len(ids[n]))] for n, *_ in batch]
            text = [[1] * len(ids[n]) + [0] * (width - len(ids[n])) for n, *_ in batch]
            tokens, mask = (torch.tensor(rows, device=model.device) for rows in (filled, text))
            logits = model(input_ids=tokens, attention_mask=mask).logits.double()
            result[[n for n, *_ in batch]] = torch.softmax(logits, dim=-1).cpu().numpy()
    return result


def run(model: Path, evalset: Path, train: Sequence[Path], conf: ClassifierEval, work: Workdir) -> Stats:
    """Classify the held-out documents; write the evaluation, with confusions and calibration."""
    device = scoring.set_up(conf.run)
    task = evaluation_inputs.read_task(model, "classification")
    everything = evaluation_inputs.held_out(evalset, conf.sources)
    table = known(everything, task)
    if table.is_empty():
        raise DataError(f"the evaluation set holds no document labelled with one of {task['labels']}")
    refuse_foreign(model, OWN_HEAD)
    network: Any = AutoModelForSequenceClassification.from_pretrained(
        model, dtype=torch.float32, local_files_only=True, use_safetensors=True, trust_remote_code=False
    )
    network = network.to(device).eval()
    tokenizer = scoring.load_tokenizer(model, OWN_HEAD)
    predicted = probabilities(network, tokenizer, table["text"].to_list(), task, conf.batch_tokens)
    guesses, truth = _baselines(table, train, task, conf), table["number"].to_numpy()
    metrics = quality.measure(predicted, truth, conf)
    for name, guess in guesses.items():
        found = quality.measure(guess, truth, conf)
        metrics |= {f"{name}_{metric}": value for metric, value in found.items() if metric in OF_BASELINES}
    metrics["unknown_labels"] = float(
        everything.filter(pl.col("label").is_not_null()).select(pl.len()).collect().item() - table.height
    )
    metrics = evaluation.write(
        work, _items(table, predicted, guesses, task["labels"]), metrics,
        confusion=_confusion(predicted, truth, task["labels"]),
        calibration=quality.calibration(predicted, truth, conf.bins),
    )  # fmt: skip
    work.log_metrics(metrics)
    return {"documents": table.height, "classes": len(task["labels"]), "metrics": metrics}


def _baselines(
    table: pl.DataFrame, train: Sequence[Path], task: dict[str, Any], conf: ClassifierEval
) -> dict[str, Floats]:
    """What each baseline, trained on what the model was trained on, takes the documents for: probabilities."""
    seen, classes = training_documents(train, task), len(task["labels"])
    labels = seen["number"].to_list()
    return {
        "majority": baselines.majority(labels, classes, table.height),
        "naive_bayes": baselines.naive_bayes(
            seen["text"].to_list(), labels, table["text"].to_list(), classes, conf.smoothing, conf.vocabulary
        ),
    }


def _columns(predicted: Floats, truth: quality.Labels, labels: Sequence[str], prefix: str = "") -> list[pl.Series]:
    guess = predicted.argmax(axis=1)
    return [
        pl.Series(f"{prefix}predicted", [labels[n] for n in guess], dtype=pl.String),
        pl.Series(f"{prefix}nats", quality.nats(predicted, truth), dtype=pl.Float64),
        pl.Series(f"{prefix}correct", guess == truth, dtype=pl.Boolean),
    ]


def _items(table: pl.DataFrame, predicted: Floats, guesses: dict[str, Floats], labels: Sequence[str]) -> pl.DataFrame:
    truth = table["number"].to_numpy()
    beside = [column for name, one in guesses.items() for column in _columns(one, truth, labels, f"{name}_")]
    return table.select("id", "label", *_columns(predicted, truth, labels), *beside)


def _confusion(predicted: Floats, truth: quality.Labels, labels: Sequence[str]) -> dict[str, Any]:
    matrix = np.zeros((len(labels), len(labels)), dtype=np.int64)
    np.add.at(matrix, (truth, predicted.argmax(axis=1)), 1)
    return {"labels": list(labels), "matrix": matrix.tolist()}
