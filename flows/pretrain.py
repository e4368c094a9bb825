"""Pretraining: a chain of segments, each from the checkpoint of the one before, the first perhaps from a model."""

from __future__ import annotations

from typing import Any

from conf.schema.recipe import Recipe
from flows.data import Data
from tasks.core.engine.placing import Placing
from tasks.pretrain import steps as pretrain
from tasks.register import steps as register


def train(recipe: Recipe, data: Data) -> Any:
    """The pretrained model: the artifact of the last segment."""
    _, network, conf = recipe.pretraining
    model = register.starting_point(conf.start) if conf.start else None
    placing = Placing(recipe.engine)
    for segment in conf.chain(network):
        elsewhere = not placing.of(pretrain.pretrain.of(segment)).here
        run = segment.run.model_copy(update={"elsewhere": elsewhere})
        model = pretrain.pretrain(data.tokens, data.tokenizer, model, conf=segment.model_copy(update={"run": run}))
    return model
