"""Pretraining: a chain of segments, each from the checkpoint of the one before."""

from __future__ import annotations

from typing import Any

from conf.schema.recipe import Recipe
from flows.data import Data
from tasks.pretrain import steps as pretrain


def train(recipe: Recipe, data: Data) -> Any:
    """The pretrained model: the artifact of the last segment."""
    model = None
    for segment in recipe.pretrain.chain(recipe.model):
        model = pretrain.pretrain(data.tokens, data.tokenizer, model, conf=segment)
    return model
