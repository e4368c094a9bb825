"""Release: register a model, compare it with the champion, promote it if the gate says so."""

from __future__ import annotations

from typing import Any

from conf.schema.recipe import Recipe
from conf.schema.release import RegisterConf
from flows.data import Data
from flows.evaluate import decide, measure, measure_baselines
from tasks.register import steps as register


def release(recipe: Recipe, data: Data, conf: RegisterConf, made: Any, base: Any) -> None:
    """evaluate → register → gate → promote; `base` is what the model was made from."""
    model = made.part("model")
    evaluation = measure(recipe, data, conf.kind, model)
    registered = register.register_model(model, evaluation, data.documents, conf=conf)
    incumbent = register.champion_of(conf.name, model)
    theirs = measure(recipe, data, conf.kind, register.weights_of(incumbent)) if incumbent else None
    baselines = measure_baselines(recipe, data, conf.kind, model, base.part("model"))
    decision = decide(recipe, conf, evaluation, theirs, baselines)
    hours = recipe.release.approval_hours if recipe.release.approval == "human" else None
    register.promote_model(registered, incumbent, decision, hours, conf=conf)
