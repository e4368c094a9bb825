"""Fine-tuning on conversations: low-rank adapters, loss on the assistant's answers only."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import torch
from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, GenerationConfig, PreTrainedTokenizerFast

from conf.schema.finetune import ChatConf
from tasks.core.errors import ConfigError, DataError
from tasks.core.step import Stats, Workdir
from tasks.finetune import export
from tasks.finetune.training import Collate, Row, settle, train
from tasks.text.encode import Encoder, Refused

IGNORED = -100
"""The label of a token that the loss leaves out (torch's ignore_index)."""


@dataclass(frozen=True)
class Examples:
    """Rendered conversations, and how many were left out because no answer fits into max_length."""

    rows: list[Row]
    left_out: int

    @property
    def answer_tokens(self) -> int:
        """Tokens that carry a loss."""
        return sum(label != IGNORED for row in self.rows for label in row["labels"])


def check_template(tokenizer: PreTrainedTokenizerFast) -> None:
    """Raise `ConfigError` unless the tokenizer has a chat template that marks the answers."""
    template = tokenizer.chat_template
    if not template:
        raise ConfigError("the tokenizer has no chat template: train it with one, or give it a chat_template.jinja")
    if not re.search(r"\{%-?\s*generation\s*-?%\}", template):
        raise ConfigError(
            "the tokenizer's chat template does not mark the answers: put what the assistant writes, its closing "
            "token included, between {% generation %} and {% endgeneration %}"
        )


def render(tokenizer: PreTrainedTokenizerFast, messages: Sequence[dict[str, str]]) -> tuple[list[int], list[int]]:
    """Token ids of a conversation, and for each whether the assistant writes it (1) or reads it (0)."""
    (out,) = Encoder(tokenizer).conversations([messages])
    return out.ids, [int(flag) for flag in out.written]


def examples(table: pl.DataFrame, tokenizer: PreTrainedTokenizerFast, max_length: int) -> Examples:
    """Rows {"input_ids", "labels"} of the conversations in a documents table, cut to `max_length` tokens.

    Labels are the ids of the answers' tokens and -100 elsewhere. Raises `DataError` naming a conversation that the
    template refuses.
    """
    check_template(tokenizer)
    rows: list[Row] = []
    try:
        rendered = Encoder(tokenizer).conversations(table["messages"].to_list())
    except Refused as error:
        raise DataError(f"conversation {table['id'][error.number]}: the chat template refuses it: {error}") from error
    for one in rendered:
        labels = [token if written else IGNORED for token, written in zip(one.ids, one.written, strict=True)]
        if any(label != IGNORED for label in labels[1:max_length]):
            rows.append({"input_ids": one.ids[:max_length], "labels": labels[:max_length]})
    return Examples(rows, table.height - len(rows))


def stop_id(tokenizer: PreTrainedTokenizerFast) -> int:
    """The special token that ends an answer, as the template writes it; raises `ConfigError` if there is none."""
    ids, mask = render(tokenizer, [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}])
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    written = [token for token, flag in zip(ids, mask, strict=True) if flag and token in special]
    if not written:
        raise ConfigError("the chat template ends no answer with a special token: put one before {% endgeneration %}")
    return written[-1]


def collate_with(pad: int) -> Collate:
    """Batches padded on the right. They need no attention mask: under a causal one no token looks to its right."""

    def collate(rows: Sequence[Row]) -> dict[str, torch.Tensor]:
        width = max(len(row["input_ids"]) for row in rows)
        filled = {"input_ids": pad, "labels": IGNORED}
        return {
            name: torch.tensor([[*row[name], *[filler] * (width - len(row[name]))] for row in rows])
            for name, filler in filled.items()
        }

    return collate


def conversations(paths: Iterable[Path], most: int | None) -> pl.DataFrame:
    """The conversations of documents tables, in order of id, at most `most`."""
    tables = [pl.scan_parquet(path).filter(pl.col("messages").list.len() > 1) for path in paths]
    table = pl.concat(tables).select("id", "messages").sort("id")
    return (table if most is None else table.head(most)).collect()


def run(model: Path, docs: Sequence[Path], conf: ChatConf, work: Workdir) -> Stats:
    """Fine-tune the causal model in `model` on the train parts of `docs`; write model/ with the merged weights."""
    export.check_context(model, conf.max_length)
    settle(conf)
    tokenizer = export.load_tokenizer(model)
    check_template(tokenizer)
    kept = {
        part: examples(conversations([doc / part / "docs.parquet" for doc in docs], most), tokenizer, conf.max_length)
        for part, most in (("train", conf.max_conversations), ("valid", conf.max_valid))
    }
    for part, found in kept.items():
        if not found.rows:
            raise DataError(f"the {part} part holds no conversation with an answer within {conf.max_length} tokens")
    adapted = adapt(model, tokenizer, conf)
    collate = collate_with(export.pad_id(tokenizer))
    outcome = train(adapted, kept["train"].rows, kept["valid"].rows, collate, conf, work)
    set_peft_model_state_dict(adapted, load_file(outcome.chosen / "adapter_model.safetensors"))
    merged = adapted.merge_and_unload().cpu()
    end = stop_id(tokenizer)
    stops = sorted({end, *([tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else [])})
    merged.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        eos_token_id=stops, pad_token_id=export.pad_id(tokenizer)
    )
    export.save(merged, model, work / "model", {"kind": "chat", "max_length": conf.max_length, "stop_id": end})
    return {
        "conversations": len(kept["train"].rows),
        "left_out": kept["train"].left_out,
        "answer_tokens": kept["train"].answer_tokens,
        "steps": outcome.steps,
        "metrics": {"valid_loss": outcome.valid_loss},
    }


def adapt(model: Path, tokenizer: PreTrainedTokenizerFast, conf: ChatConf) -> PeftModel:
    """The pretrained model with fresh adapters on its linear layers, and trainable rows for the special tokens."""
    base = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32, local_files_only=True)
    tokens: dict[str, Any] = {}
    if conf.lora.train_special_tokens:
        rows = sorted(set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder))
        names = ["embed_tokens"] if base.config.tie_word_embeddings else ["embed_tokens", "lm_head"]
        tokens["trainable_token_indices"] = dict.fromkeys(names, rows)
    spec = LoraConfig(
        r=conf.lora.rank,
        lora_alpha=conf.lora.alpha,
        lora_dropout=conf.lora.dropout,
        target_modules="all-linear",
        task_type="CAUSAL_LM",
        **tokens,
    )
    with warnings.catch_warnings():  # peft asks for what transformers now calls otherwise
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        return get_peft_model(base, spec)
