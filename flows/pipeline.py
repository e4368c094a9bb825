"""The whole pipeline, from raw text to promoted models."""

from __future__ import annotations

from conf.schema.recipe import Recipe
from flows.data import prepare, tokenize
from flows.models import make
from flows.pretrain import train


def pipeline(recipe: Recipe) -> None:
    """data → tokens → pretrain → for each model: train, evaluate, register, gate, promote."""
    data = prepare(recipe)
    pretrained = None
    if recipe.pretrains:
        data = tokenize(recipe, data)
        pretrained = train(recipe, data)
    make(recipe, data, pretrained)
