"""How a model that says a number is asked.

This file is also the code of registered models: it imports nothing of its own project but what stands alone as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tasks.text.encode import Encoder
from tasks.text.text_models import load, logits

__all__ = ["answer", "load"]


def answer(model: Any, encoder: Encoder, texts: Sequence[str], task: dict[str, Any]) -> list[dict[str, Any]]:
    """{number} for each text; `task` is the model's task.json."""
    return [{"number": float(said[0])} for said in logits(model, encoder, texts, task)]
