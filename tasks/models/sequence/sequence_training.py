"""Fine-tuning a model that reads one text and writes another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor
from transformers import AutoModelForSeq2SeqLM, GenerationConfig, PreTrainedTokenizerFast

from tasks.core.errors import ConfigError, DataError
from tasks.core.number_format import plural
from tasks.core.run_warnings import told
from tasks.core.step import Stats
from tasks.core.workdir import Workdir
from tasks.finetune import export, methods, text_examples
from tasks.finetune.examples import Arrays, Collate, Row, whole_texts
from tasks.finetune.preview import WARN
from tasks.finetune.same_model import write_proven
from tasks.finetune.tuning import seed, set_up, tune
from tasks.formats.document_files import documents_in
from tasks.formats.documents import scanned
from tasks.formats.tokens import IGNORE
from tasks.models.sequence.sequence_options import SequenceConf
from tasks.models.sequence.text_pairs import pairs_of
from tasks.text.encode import Encoder
from tasks.text.rewriting import ended
from tasks.training.network.model import LossModule


class SequenceLoss(LossModule):
    """An encoder with a decoder that writes the target token by token."""

    def __init__(self, network: Any) -> None:
        super().__init__(network, z_loss=False)

    def forward(self, ids: Tensor, mask: Tensor, written: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """ids, mask [examples, read], written (what the decoder has before it), labels [examples, written] → (sum of
        nats over labelled tokens, 0)."""
        read = int(mask.any(0).nonzero()[-1]) + 1
        there = (labels != IGNORE).any(0).nonzero()
        width = int(there[-1]) + 1 if len(there) else 1
        given = {"input_ids": ids[:, :read], "attention_mask": mask[:, :read], "decoder_input_ids": written[:, :width]}
        logits = self.model(**given, use_cache=False).logits
        return self.sums(logits.flatten(0, 1), labels[:, :width].flatten())


def two_texts(pad: int) -> Collate:
    """Collates for a model that reads and writes: ids and mask [examples, longest read], what the decoder has before it
    and labels [examples, longest written], filled up on the right."""

    def collate(rows: Sequence[Row]) -> Arrays:
        ids, mask, _ = whole_texts(pad)([{**row, "labels": 0} for row in rows])
        width = max(len(row["labels"]) for row in rows)
        written, labels = np.full((len(rows), width), pad, np.int64), np.full((len(rows), width), IGNORE, np.int64)
        for number, row in enumerate(rows):
            size = len(row["labels"])
            written[number, :size], labels[number, :size] = row["decoder_input_ids"], row["labels"]
        return ids, mask, written, labels

    return collate


def build(model: Path, about: dict[str, Any]) -> tuple[LossModule, Collate]:
    """The model in a folder as it is tuned, its loss, and the collation of examples."""
    conf = SequenceConf.model_validate(about["conf"])
    network = make_network(model, conf)
    loss = SequenceLoss(network)
    loss.rates = methods.rates_of(network, conf.method)
    return loss, two_texts(export.pad_id(export.load_tokenizer(model)))


def make_network(model: Path, conf: SequenceConf) -> Any:
    """The model in a folder with what its method adds."""
    seed(conf)
    base = export.load_whole(AutoModelForSeq2SeqLM, model, conf.run.model, dtype=torch.float32)
    return methods.prepare(base, conf.method, f"models.{conf.run.model}.method")


def examples(
    table: pl.DataFrame, tokenizer: PreTrainedTokenizerFast, conf: SequenceConf, start: int
) -> tuple[list[Row], int]:
    """Rows of whole texts from (id, text, target), and how many are left out as their target is too long; `start` is
    the token that the decoder begins with."""
    encoder, rows = Encoder(tokenizer), list[Row]()
    read = ended(encoder, [conf.prefix + text for text in table["text"]], 1 << 20)
    for ids, labels in zip(read, ended(encoder, table["target"].to_list(), 1 << 20), strict=True):
        if len(labels) <= conf.target_length:
            rows.append({"input_ids": ids, "decoder_input_ids": [start, *labels[:-1]], "labels": labels})
    return rows, table.height - len(rows)


def run(model: Path, docs: Sequence[Path], conf: SequenceConf, work: Workdir, kind: str) -> Stats:
    """Fine-tune the sequence-to-sequence model in `model` on the train parts of `docs`; write model/."""
    name = conf.run.model
    set_up(conf)
    conf = methods.rated(conf, model, conf.method)
    tokenizer, network = export.load_tokenizer(model), make_network(model, conf)
    start = network.config.decoder_start_token_id
    if start is None or tokenizer.eos_token_id is None:
        raise ConfigError(
            f"models.{name}.start: its config says no decoder_start_token_id, or its tokenizer no eos_token"
        )
    found: dict[str, list[Row]] = {}
    left_out = 0
    for part, most in (("train", conf.max_documents), ("valid", conf.max_valid)):
        table = pairs_of(scanned(documents_in(doc, part) for doc in docs))[:most]
        found[part], beyond = examples(table, tokenizer, conf, start)
        left_out += beyond if part == "train" else 0
        if not found[part]:
            raise DataError(
                f"the {part} part holds no document with another text of up to {conf.target_length} tokens: say in "
                f"`columns` of a source, {{target: COLUMN}}, where it is, or raise models.{name}.train.target_length"
            )
    sizes = [len(row["input_ids"]) for row in found["train"]]
    length = text_examples.longest(sizes, export.context_of(model), conf.max_length, conf.length_limit)
    end = {"suffix": [tokenizer.eos_token_id]}
    rows, valid = (text_examples.trimmed(found[part], length, end) for part in ("train", "valid"))
    cut, examined = sum(size > length for size in sizes), len(rows) + left_out
    outcome = tune(build, model, rows, valid, conf, work, {"conf": conf.model_dump(mode="json")}, conf.patience)
    task = {"kind": kind, "prefix_text": conf.prefix, "max_length": length, "beams": conf.beams}
    how = GenerationConfig(  # type: ignore[no-untyped-call]
        decoder_start_token_id=start, eos_token_id=tokenizer.eos_token_id, pad_token_id=export.pad_id(tokenizer),
        bos_token_id=getattr(network.config, "bos_token_id", None), forced_eos_token_id=None,
    )  # fmt: skip
    proof = write_proven(
        make_network(model, conf), outcome, valid, AutoModelForSeq2SeqLM, model, work / "model",
        {**task, "target_length": conf.target_length}, name, how,
    )  # fmt: skip
    return {
        "documents": len(rows),
        "left_out": left_out,
        "max_length": length,
        "cut": cut,
        "steps": outcome.steps,
        "best_step": outcome.best_step,
        "proof": proof,
        "warnings": [*text_examples.cut_warning(cut, len(rows), length, name), *_left_out(left_out, examined, conf)],
        "metrics": {"valid_loss": outcome.valid_loss},
    }


def _left_out(documents: int, found: int, conf: SequenceConf) -> list[dict[str, str]]:
    """That documents are left out, if they are many."""
    if documents <= WARN * found:
        return []
    longer = f"their targets have more than {conf.target_length} tokens"
    text = f"{documents} of {plural(found, 'document')} are left out: {longer}"
    return [told(text, f"models.{conf.run.model}.train.target_length")]
