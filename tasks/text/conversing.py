"""How a chat model is asked: a prompt is a turn of a user.

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
    asked = encoder.conversations([[{"role": "user", "content": prompt}] for prompt in prompts], ask=True)
    return [one.ids for one in asked]


def answer(model: Any, encoder: Encoder, texts: Sequence[str], task: dict[str, Any], **how: Any) -> list[str]:
    """Answers to the texts; `how` as `complete` takes it."""
    return [complete(model, encoder, ids, **how) for ids in prompted(encoder, texts)]
