"""Chat templates that can be trained with: what they mark, and what ends an answer."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import GenerationConfig, PreTrainedTokenizerFast

from tasks.core.errors import ConfigError
from tasks.finetune import export
from tasks.text.answer_spans import Unmarked
from tasks.text.encode import Encoder, Refused

PROBE = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]
"""The shortest conversation."""


def check_template(tokenizer: PreTrainedTokenizerFast) -> None:
    """Raise `ConfigError` unless the tokenizer has a chat template that marks the answers, or shows where they are."""
    if not tokenizer.chat_template:
        raise ConfigError("the tokenizer has no chat template: train it with one, or give it a chat_template.jinja")
    try:
        render(tokenizer, PROBE)
    except Refused as error:
        if not isinstance(error.__cause__, Unmarked):
            return  # what it says against a conversation is said where that is read
        raise ConfigError(
            f"the tokenizer's chat template cannot be trained with: {error}: put what the assistant writes, its "
            "closing token included, between {% generation %} and {% endgeneration %}"
        ) from error


def render(tokenizer: PreTrainedTokenizerFast, messages: Sequence[dict[str, str]]) -> tuple[list[int], list[int]]:
    """Token ids of a conversation, and for each whether the assistant writes it (1) or reads it (0)."""
    (out,) = Encoder(tokenizer).conversations([messages])
    return out.ids, [int(flag) for flag in out.written]


def stop_id(tokenizer: PreTrainedTokenizerFast) -> int:
    """The special token that ends an answer, as the template writes it; raises `ConfigError` if there is none."""
    ids, mask = render(tokenizer, PROBE)
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    written = [token for token, flag in zip(ids, mask, strict=True) if flag and token in special]
    if not written:
        raise ConfigError("the chat template ends no answer with a special token: put one behind what it writes of it")
    return written[-1]


def generation(tokenizer: PreTrainedTokenizerFast) -> GenerationConfig:
    """How a model that answers generates: it stops where an answer ends, or a text."""
    stops = {stop_id(tokenizer), *([tokenizer.eos_token_id] if tokenizer.eos_token_id is not None else [])}
    made = GenerationConfig(eos_token_id=sorted(stops), pad_token_id=export.pad_id(tokenizer))  # type: ignore[no-untyped-call]
    return made
