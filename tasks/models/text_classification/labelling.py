"""How a classifier is asked: probabilities of all labels for each text, masked and cut as in training.

This file is also the code of registered models: it imports nothing of its own project but what stands alone as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from tasks.text.encode import Encoder
from tasks.text.text_models import load, logits

__all__ = ["answer", "load"]


def answer(model: Any, encoder: Encoder, texts: Sequence[str], task: dict[str, Any]) -> list[dict[str, Any]]:
    """{label, probabilities} for each text; `task` is the model's task.json. Where a text may have several labels,
    label is those over its threshold, separated by commas."""
    hidden, found = re.compile(task.get("mask_pattern", r"(?!)")), []
    labels = [model.config.id2label[i] for i in range(model.config.num_labels)]
    shown = [hidden.sub(task.get("mask", ""), text) for text in texts]
    for row in logits(model, encoder, shown, task):
        several = task.get("several", False)
        given = (row.sigmoid() if several else row.softmax(-1)).tolist()
        probabilities = dict(zip(labels, given, strict=True))
        best = max(probabilities, key=lambda label: probabilities[label])
        chosen = [label for label in labels if probabilities[label] > 0.5] if several else [best]
        found.append({"label": ", ".join(chosen), "probabilities": probabilities})
    return found
