"""Fine-tuning: what is made of the pretrained model."""

from __future__ import annotations

from typing import Any

from conf.schema.finetune import ClassifyConf, TranslateConf
from conf.schema.recipe import Recipe
from flows.data import Data
from tasks.core.step import foresee, observe
from tasks.finetune import steps as finetune


def tune(recipe: Recipe, data: Data, base: Any) -> tuple[Any, Any]:
    """The chat model and the classifier; None for one that the recipe leaves out."""
    chat = classifier = None
    about = (data.documents, data.tokenizer, recipe.model.positions)
    if recipe.finetune.chat:
        chat = finetune.finetune_chat(base.part("model"), data.documents, conf=recipe.finetune.chat)
        foresee(finetune.finetune_chat, finetune.foresee_chat, *about, conf=recipe.finetune.chat)
    if recipe.finetune.classify:
        copies = translated(recipe.name, recipe.finetune.classify, data)
        classifier = finetune.finetune_classifier(
            base.part("model"), data.documents, *copies, conf=recipe.finetune.classify
        )
        foresee(finetune.finetune_classifier, finetune.foresee_classifier, *about, conf=recipe.finetune.classify)
    return chat, classifier


def translated(name: str, conf: ClassifyConf, data: Data) -> tuple[Any, ...]:
    """The examples' copies by translation and back; none where they are not asked for."""
    if not conf.augment or not conf.augment.translate:
        return ()
    models = observe(f"translators/{name}", finetune.observe_translators, conf.augment.translate)
    return (finetune.translate_examples(data.documents, models, conf=TranslateConf(classify=conf)),)
