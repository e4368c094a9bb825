"""Fine-tuning: what is made of the pretrained model."""

from __future__ import annotations

from typing import Any

from conf.schema.recipe import Recipe
from flows.data import Data
from tasks.finetune import steps as finetune


def tune(recipe: Recipe, data: Data, base: Any) -> tuple[Any, Any]:
    """The chat model and the classifier; None for one that the recipe leaves out."""
    chat = classifier = None
    if recipe.finetune.chat:
        chat = finetune.finetune_chat(base.part("model"), data.documents, conf=recipe.finetune.chat)
    if recipe.finetune.classify:
        classifier = finetune.finetune_classifier(base.part("model"), data.documents, conf=recipe.finetune.classify)
    return chat, classifier
