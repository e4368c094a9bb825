"""The whole pipeline, from raw text to promoted models."""

from __future__ import annotations

from conf.schema.recipe import Recipe
from flows.data import prepare
from flows.models import make
from flows.pretrain import train


def pipeline(recipe: Recipe) -> None:
    """data → pretrain → for each model: train, evaluate, register, gate, promote."""
    data = prepare(recipe)
    pretrained = train(recipe, data) if recipe.pretrains else None
    make(recipe, data, pretrained)
