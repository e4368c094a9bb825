"""Going on with the pretraining of a language model, on texts of one's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from tasks.core.errors import ArtifactError, DataError
from tasks.core.step import Stats
from tasks.core.workdir import Workdir
from tasks.finetune import export, methods
from tasks.finetune.answer_loss import AnswerLoss
from tasks.finetune.examples import Collate, Row, next_tokens
from tasks.finetune.same_model import write_proven
from tasks.finetune.tuning import seed, set_up, tune
from tasks.formats.document_files import documents_in
from tasks.formats.tokens import IGNORE
from tasks.models.causal_lm.lm_options import LmConf
from tasks.text.encode import Encoder
from tasks.training.network.model import LossModule


def texts(paths: Sequence[Path], most: int | None) -> list[str]:
    """The texts of documents tables, in order of id, at most `most`."""
    table = pl.concat([pl.scan_parquet(path).select("id", "text") for path in paths]).sort("id")
    table = table.filter(pl.col("text").str.len_bytes() > 0)
    return (table if most is None else table.head(most)).collect()["text"].to_list()


def examples(found: Sequence[str], tokenizer: PreTrainedTokenizerFast, length: int) -> Iterator[Row]:
    """Rows of at most `length` tokens: each text behind the end of the one before and with its own end, as it is
    measured; a longer one in several, whose first token is the last one of the row before, without a loss.

    Raises `ArtifactError` for a tokenizer without a token that ends a text.
    """
    end = tokenizer.eos_token_id
    if end is None:
        raise ArtifactError("the model's tokenizer has no end-of-text token: give it an eos_token")
    for ids in Encoder(tokenizer).texts(found):
        whole = [int(end), *ids, int(end)]
        for begin in range(0, len(whole) - 1, length - 1):
            part = whole[begin : begin + length]
            yield {"input_ids": part, "labels": [IGNORE, *part[1:]]}


def run(model: Path, docs: Sequence[Path], conf: LmConf, work: Workdir) -> Stats:
    """Train the causal model in `model` on the train parts of `docs`; write model/ with the merged weights."""
    if isinstance(conf.max_length, int):
        export.check_context(model, conf.max_length, conf.run.model)
    set_up(conf)
    conf = methods.rated(conf, model, conf.method)
    tokenizer, limit = export.load_tokenizer(model), conf.length_limit
    length = conf.max_length if isinstance(conf.max_length, int) else min(limit, export.context_of(model) or limit)
    taken = {
        part: texts([documents_in(doc, part) for doc in docs], most)
        for part, most in (("train", conf.max_documents), ("valid", conf.max_valid))
    }
    for part, found in taken.items():
        if not found:
            raise DataError(f"the {part} part holds no document with a text: see data.split, or name other sources in "
                            f"models.{conf.run.model}.data.sources")  # fmt: skip
    rows, valid = (list(examples(taken[part], tokenizer, length)) for part in ("train", "valid"))
    outcome = tune(build, model, rows, valid, conf, work, {"conf": conf.model_dump(mode="json")}, conf.patience)
    task = {"kind": "causal_lm", "max_length": length}
    proof = write_proven(
        make_network(model, conf), outcome, valid, AutoModelForCausalLM, model, work / "model", task, conf.run.model
    )
    return {
        "documents": len(taken["train"]),
        "tokens": sum(len(row["input_ids"]) - 1 for row in rows),
        "examples": len(rows),
        "max_length": length,
        "steps": outcome.steps,
        "best_step": outcome.best_step,
        "proof": proof,
        "metrics": {"valid_loss": outcome.valid_loss},
    }


def build(model: Path, about: dict[str, Any]) -> tuple[LossModule, Collate]:
    """The model in a folder as it is tuned, its loss, and the collation of examples."""
    conf = LmConf.model_validate(about["conf"])
    network = make_network(model, conf)
    loss = AnswerLoss(network)
    loss.rates = methods.rates_of(network, conf.method)
    return loss, next_tokens(export.pad_id(export.load_tokenizer(model)))


def make_network(model: Path, conf: LmConf) -> Any:
    """The model in a folder with what its method adds."""
    seed(conf)
    base = export.load_whole(AutoModelForCausalLM, model, conf.run.model, dtype=torch.float32)
    return methods.prepare(base, conf.method, f"models.{conf.run.model}.method")
