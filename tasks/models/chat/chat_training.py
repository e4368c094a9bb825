"""Fine-tuning on conversations, the loss on the assistant's answers only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import torch
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from tasks.core.errors import DataError, StepError
from tasks.core.run_warnings import told
from tasks.core.step import Stats
from tasks.core.workdir import Workdir
from tasks.finetune import export, methods
from tasks.finetune.answer_loss import AnswerLoss
from tasks.finetune.chat_template import check_template, generation, stop_id
from tasks.finetune.examples import Collate, Row, next_tokens, shown
from tasks.finetune.preview import WARN
from tasks.finetune.same_model import write_proven
from tasks.finetune.tuning import seed, set_up, tune
from tasks.formats.document_files import documents_in
from tasks.models.chat import windows
from tasks.models.chat.chat_options import ChatConf
from tasks.models.chat.windows import Taken, conversations
from tasks.text.encode import Encoder, Refused
from tasks.training.network.model import LossModule


@dataclass(frozen=True)
class Examples:
    """What is trained on, and what of the conversations carries no loss."""

    rows: list[Row]
    split: int
    """Conversations that became more than one example."""
    cut: int
    """Answers that are longer than an example."""
    written: int
    """Tokens of all answers, their ends included."""
    answer_tokens: int
    """Those of them that carry a loss."""

    @property
    def left_out(self) -> float:
        """The share of the answers' tokens that carries no loss."""
        return 1 - self.answer_tokens / self.written if self.written else 0.0


def examples(table: pl.DataFrame, tokenizer: PreTrainedTokenizerFast, max_length: int) -> Examples:
    """Rows {"input_ids", "labels"} of at most `max_length` tokens from a documents table; long conversations are split.

    Labels are the ids of the answers' tokens and -100 elsewhere. Raises `DataError` naming a conversation that the
    template refuses.
    """
    check_template(tokenizer)
    try:
        found = windows.split(Encoder(tokenizer), table["messages"].to_list(), max_length)
    except Refused as error:
        raise DataError(f"conversation {table['id'][error.number]}: the chat template refuses it: {error}") from error
    rows: list[Row] = [{"input_ids": one.ids, "labels": one.labels} for one in found.examples]
    return Examples(rows, found.split, found.cut, found.written, found.trained)


def longest(table: pl.DataFrame, tokenizer: PreTrainedTokenizerFast, context: int | None) -> int:
    """Tokens of the longest conversation, or the context where that is shorter: `max_length: auto`."""
    try:
        found = Encoder(tokenizer).conversations(table["messages"].to_list())
    except Refused as error:
        raise DataError(f"conversation {table['id'][error.number]}: the chat template refuses it: {error}") from error
    most = max(len(one.ids) for one in found)
    return most if context is None else min(most, context)


def run(model: Path, docs: Sequence[Path], conf: ChatConf, work: Workdir) -> Stats:
    """Fine-tune the causal model in `model` on the train parts of `docs`; write model/ with the merged weights."""
    if isinstance(conf.max_length, int):
        export.check_context(model, conf.max_length, conf.run.model)
    set_up(conf)
    conf = methods.rated(conf, model, conf.method)
    tokenizer = export.load_tokenizer(model)
    check_template(tokenizer)
    taken = {
        part: conversations([documents_in(doc, part) for doc in docs], most)
        for part, most in (("train", conf.max_conversations), ("valid", conf.max_valid))
    }
    for part, found in taken.items():
        if found.table.is_empty():
            raise DataError(_none(part, found, conf.run.model))
    length = conf.max_length
    if not isinstance(length, int):
        length = longest(taken["train"].table, tokenizer, export.context_of(model))
    kept = {part: examples(found.table, tokenizer, length) for part, found in taken.items()}
    for part, made in kept.items():
        if not made.rows:
            raise DataError(f"the chat template marks nothing as an answer in the conversations of the {part} part")
    about = said(taken["train"], kept["train"], length, conf.run.model)
    print(*shown(kept["train"].rows, lambda ids: str(tokenizer.decode(ids))), sep="\n", flush=True)
    valid = kept["valid"].rows[: conf.max_valid]
    outcome = tune(build, model, kept["train"].rows, valid, conf, work, {"conf": conf.model_dump(mode="json")})
    task = {"kind": "chat", "max_length": length, "stop_id": stop_id(tokenizer)}
    network, folder = make_network(model, tokenizer, conf), work / "model"
    how = generation(tokenizer)
    proof = write_proven(network, outcome, valid, AutoModelForCausalLM, model, folder, task, conf.run.model, how)
    again = examples(taken["valid"].table, export.load_tokenizer(folder), length)
    if again != kept["valid"]:
        raise StepError("the tokenizer that was written reads conversations otherwise than the one trained with")
    return {**about, "steps": outcome.steps, "proof": proof, "metrics": {"valid_loss": outcome.valid_loss}}


def _none(part: str, found: Taken, model: str) -> str:
    """Why a part has nothing to train on."""
    if not found.found:
        return (
            f"the {part} part holds no conversation: name their column in a source's `messages`, or set "
            f"models.{model}=null"
        )
    return (
        f"the {part} part holds no conversation with an answer: in all its {found.found} the assistant says nothing "
        "(`roles` of a source says what other names mean)"
    )


def said(taken: Taken, found: Examples, length: int, model: str = "NAME") -> Stats:
    """What is trained on and what is left out, printed and as statistics, with a warning where that is much."""
    text = (
        f"{1 - found.left_out:.1%} of {found.written:,} answer tokens carry a loss: {taken.table.height} conversations "
        f"as {len(found.rows)} examples of up to {length} tokens, {found.split} split at turns, {found.cut} answers cut"
    )
    besides = [
        (taken.without_answer, "without an answer"),
        (taken.beyond, f"beyond models.{model}.train.max_conversations"),
    ]
    text += "".join(f"; {count} conversations {why} left out" for count, why in besides if count)
    print(text, flush=True)
    warnings = []
    if found.left_out > WARN:
        what = (
            f"{found.left_out:.1%} of the answers' tokens carry no loss: {found.cut} answers are longer than an example"
        )
        warnings.append(told(what, f"models.{model}.train.max_length={length}"))
    if taken.without_answer > WARN * taken.found:
        what = f"{taken.without_answer} of {taken.found} conversations have no answer of the assistant and are left out"
        warnings.append(told(what, "roles of the source"))
    return {
        "answers": text,
        "conversations": taken.table.height,
        "conversations_without_answer": taken.without_answer,
        "conversations_beyond": taken.beyond,
        "conversations_split": found.split,
        "examples": len(found.rows),
        "max_length": length,
        "answer_tokens": found.answer_tokens,
        "answer_tokens_left_out": found.written - found.answer_tokens,
        "answer_tokens_left_out_share": round(found.left_out, 6),
        "answers_cut": found.cut,
        "warnings": warnings,
    }


def build(model: Path, about: dict[str, Any]) -> tuple[LossModule, Collate]:
    """The model in a folder as it is tuned, its loss, and the collation of examples."""
    conf, tokenizer = ChatConf.model_validate(about["conf"]), export.load_tokenizer(model)
    network = make_network(model, tokenizer, conf)
    loss = AnswerLoss(network)
    loss.rates = methods.rates_of(network, conf.method)
    return loss, next_tokens(export.pad_id(tokenizer))


def make_network(model: Path, tokenizer: PreTrainedTokenizerFast, conf: ChatConf) -> Any:
    """The model in a folder with what its method adds, and with trainable rows for the special tokens."""
    seed(conf)
    base = export.load_whole(AutoModelForCausalLM, model, conf.run.model, dtype=torch.float32)
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    return methods.prepare(base, conf.method, f"models.{conf.run.model}.method", sorted(special))
