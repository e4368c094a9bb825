"""The whole pipeline, from raw text to promoted models."""

from __future__ import annotations

from conf.schema.recipe import Recipe
from flows.data import prepare
from flows.finetune import tune
from flows.pretrain import train
from flows.release import release


def pipeline(recipe: Recipe) -> None:
    """data → pretrain → fine-tune → for each model: evaluate, register, gate, promote."""
    data = prepare(recipe)
    base = train(recipe, data)
    chat, classifier = tune(recipe, data, base)
    names = recipe.release
    for conf, model in ((names.base, base), (names.chat, chat), (names.classifier, classifier)):
        if conf and model:
            release(recipe, data, conf, model, base)
