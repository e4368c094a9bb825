"""Fine-tuning a model that says a number of a text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from tasks.core.errors import DataError
from tasks.core.step import Stats
from tasks.core.workdir import Workdir
from tasks.finetune import export, methods, text_examples
from tasks.finetune.examples import Collate, Row, whole_texts
from tasks.finetune.same_model import write_proven
from tasks.finetune.tuning import seed, set_up, tune
from tasks.formats.document_files import documents_in
from tasks.formats.documents import scanned
from tasks.formats.model_folder import refuse_foreign
from tasks.formats.tokens import IGNORE
from tasks.models.text_regression.number_options import RegressConf
from tasks.models.text_regression.numbers import numbers_of
from tasks.training.network.model import LossModule


def numbered(paths: Sequence[Path], most: int | None, part: str, model: str) -> pl.DataFrame:
    """(id, text, number) of documents tables, at most `most`; raises `DataError` where there are none."""
    table = numbers_of(scanned(paths))[:most]
    if table.is_empty():
        raise DataError(
            f"the {part} part holds no document with a number: say in `columns` of a source, {{number: COLUMN}}, where "
            f"it is, or name other sources in models.{model}.data.sources"
        )
    return table


class NumberLoss(LossModule):
    """A model whose error counts as a share of the numbers' standard deviation."""

    def __init__(self, network: Any, loss: str) -> None:
        super().__init__(network, z_loss=False)
        self.scale, self.shift = float(network.config.scale), float(network.config.shift)
        losses: dict[str, Callable[..., Tensor]] = {"mse": F.mse_loss, "huber": F.huber_loss}
        self.loss = losses[loss]

    def forward(self, ids: Tensor, mask: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """ids, mask [examples, width], labels [examples], in standard deviations from the mean → (sum of losses, 0)."""
        width = int(mask.any(0).nonzero()[-1]) + 1
        said = self.model(input_ids=ids[:, :width], attention_mask=mask[:, :width]).logits[:, 0]
        there = labels != IGNORE
        error = ((said.float() - self.shift) / self.scale - labels.float())[there]
        return self.loss(error, torch.zeros_like(error), reduction="sum"), error.new_zeros(())


def build(model: Path, about: dict[str, Any]) -> tuple[LossModule, Collate]:
    """The body in a folder with a fresh head, its loss, and the collation of examples."""
    conf = RegressConf.model_validate(about["conf"])
    network = make_network(model, about["mean"], about["spread"], conf)
    loss = NumberLoss(network, conf.loss)
    loss.rates = methods.rates_of(network, conf.method)
    return loss, whole_texts(export.pad_id(export.load_tokenizer(model)))


def make_network(model: Path, mean: float, spread: float, conf: RegressConf) -> Any:
    """The pretrained body with a fresh head that says numbers around `mean`, as its method trains it."""
    refuse_foreign(model)
    seed(conf)
    outputs = {"num_labels": 1, "problem_type": "regression", "scale": spread, "shift": mean}
    outputs["pad_token_id"] = export.pad_id(export.load_tokenizer(model))
    network = text_examples.pooled(model, conf, outputs)
    return methods.prepare(network, conf.method, f"models.{conf.run.model}.method")


def run(model: Path, docs: Sequence[Path], conf: RegressConf, work: Workdir) -> Stats:
    """Fine-tune the causal model or the encoder in `model` on the train parts of `docs`; write model/."""
    name = conf.run.model
    if conf.max_length != "auto":
        export.check_context(model, conf.max_length, name)
    set_up(conf)
    conf = methods.rated(conf, model, conf.method, fresh_head=True)
    tokenizer, causal = export.load_tokenizer(model), text_examples.is_causal(model)
    train = numbered([documents_in(doc, "train") for doc in docs], conf.max_documents, "train", name)
    held_out = numbered([documents_in(doc, "valid") for doc in docs], conf.max_valid, "valid", name)
    mean, spread = float(np.mean(train["number"].to_numpy())), float(np.std(train["number"].to_numpy()))
    if not spread:
        raise DataError(f"all {train.height} training documents have the number {mean:g}: there is nothing to learn")
    encode, around = text_examples.encoder(tokenizer, causal), text_examples.frame(tokenizer, causal)
    rows, valid = (_rows(table, encode(table["text"].to_list()), mean, spread) for table in (train, held_out))
    sizes = [len(row["input_ids"]) for row in rows]
    length = text_examples.longest(sizes, export.context_of(model), conf.max_length, conf.length_limit)
    cut = sum(size > length for size in sizes)
    rows, valid = (text_examples.trimmed(part, length, around) for part in (rows, valid))
    about = {"conf": conf.model_dump(mode="json"), "mean": mean, "spread": spread}
    outcome = tune(build, model, rows, valid, conf, work, about, conf.patience)
    task = {"kind": "regression", **around, "max_length": length, "max_documents": conf.max_documents}
    network, read = make_network(model, mean, spread, conf), AutoModelForSequenceClassification
    proof = write_proven(network, outcome, valid, read, model, work / "model", task, name)
    return {
        "documents": train.height,
        "mean": mean,
        "standard_deviation": spread,
        "max_length": length,
        "cut": cut,
        "steps": outcome.steps,
        "best_step": outcome.best_step,
        "proof": proof,
        "warnings": text_examples.cut_warning(cut, len(rows), length, name),
        "metrics": {"valid_loss": outcome.valid_loss},
    }


def _rows(table: pl.DataFrame, encoded: list[list[int]], mean: float, spread: float) -> list[Row]:
    """Examples, each number in standard deviations from the mean: none of them is what stands for no label."""
    labels = (table["number"] - mean) / spread
    return [{"input_ids": ids, "labels": said} for ids, said in zip(encoded, labels, strict=True)]
