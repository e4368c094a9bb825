"""The models of a recipe: each trained from what it starts from, then measured, registered, compared and promoted."""

from __future__ import annotations

from collections import Counter
from typing import Any

from conf.schema.model_recipe import PRETRAINED, ModelRecipe
from conf.schema.recipe import Recipe
from conf.schema.release import RegisterConf
from flows.data import Data
from tasks.core.errors import ConfigError, nearest
from tasks.evaluate import steps as evaluate
from tasks.finetune import steps as finetune
from tasks.models import kind as kinds
from tasks.register import steps as register


def make(recipe: Recipe, data: Data, pretrained: Any) -> None:
    """train all → for each that has a name in the registry: evaluate, register, gate, promote."""
    started, made = dict[str, Any](), dict[str, Any]()
    for name, conf in recipe.in_order.items():
        check_gate(name, conf)
        if conf.is_reference:
            started[name] = register.starting_point(conf.start)
        elif conf.is_open:
            kind = kinds.of(conf.kind)
            started[name] = finetune.open_model(conf.start, name, conf.takes, conf.kind, kind.converses)
        else:
            started[name] = pretrained if conf.start == PRETRAINED else made[conf.start]
        given = data.of(conf.data.sources)
        made[name] = kinds.of(conf.kind).train(conf, started[name], given, about(recipe, name))
    for name, conf in recipe.models.items():
        if conf.register:
            release(recipe, name, conf, data.of(conf.data.sources), started[name], kinds.weights(made[name]))


def check_gate(name: str, conf: ModelRecipe) -> None:
    """Raise `ConfigError`, in plans too, for a gate that compares by what the model's kind does not measure."""
    kind, metric = kinds.of(conf.kind), conf.gate.metric
    known = sorted({one.name for one in (*kind.compared, *kind.measures)})
    if conf.register and metric not in known:
        raise ConfigError(
            f"models.{name}.gate.metric={metric}: {conf.kind} measures no such thing{nearest(metric, known)}"
        )


def release(recipe: Recipe, name: str, conf: ModelRecipe, data: Data, start: Any, model: Any) -> None:
    """evaluate → register → gate → promote."""
    assert conf.register is not None
    kind, shown = kinds.of(conf.kind), about(recipe, name)
    registration = RegisterConf.model_validate({**dict(conf.register), "kind": conf.kind})
    evaluation = kind.evaluate(conf, model, data, shown)
    registered = register.register_model(model, evaluation, data.documents, conf=registration)
    champion = register.champion_of(registration.name, model)
    theirs = kind.evaluate(conf, register.weights_of(champion), data, shown) if champion else None
    baselines = kind.before(conf, start, model, data, shown)
    decision = evaluate.gate(evaluation, theirs, *baselines, conf=conf.gate, about=shown)
    hours = recipe.approval.hours if recipe.approval.by == "human" else None
    register.promote_model(registered, champion, decision, hours, conf=registration)


def about(recipe: Recipe, name: str) -> str | None:
    """A model's name where several of the recipe are of one kind, to tell their steps apart."""
    of_kind = Counter(conf.kind for conf in recipe.models.values())
    return name if of_kind[recipe.models[name].kind] > 1 else None
