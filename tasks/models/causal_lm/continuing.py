"""How a language model is asked: a prompt is text behind the token that starts documents.

This file is also the code of registered models: it imports nothing of its own project but what stands alone as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.text.encode import Encoder
from tasks.text.generation import complete, load

__all__ = ["answer", "load", "prompted"]


def prompted(encoder: Encoder, prompts: Sequence[str]) -> list[list[int]]:
    """Token ids of prompts."""
    start = next((n for n in (encoder.tokenizer.bos_token_id, encoder.tokenizer.eos_token_id) if n is not None), 0)
    return [[start, *ids] for ids in encoder.texts(prompts)]


def answer(model: Any, encoder: Encoder, texts: Sequence[str], task: dict[str, Any], **how: Any) -> list[str]:
    """Continuations of the texts; `how` as `complete` takes it."""
    return [complete(model, encoder, ids, **how) for ids in prompted(encoder, texts)]
