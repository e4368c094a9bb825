"""Evaluation on the frozen evaluation set: one way to measure each kind of model."""

from __future__ import annotations

from typing import Any

from conf.schema.evaluate import GateConf
from conf.schema.recipe import Recipe
from conf.schema.release import RegisterConf
from flows.data import Data
from tasks.evaluate import steps as evaluate


def measure(recipe: Recipe, data: Data, kind: str, model: Any, start: Any = None) -> Any:
    """The evaluation of a model directory, a candidate's or a champion's, beside what it was fine-tuned from where that
    is its baseline and known."""
    if kind == "base":
        return evaluate.evaluate_lm(model, data.evalset, conf=recipe.evaluate.lm)
    if kind == "chat":
        beside = (start,) if start is not None else ()
        return evaluate.evaluate_chat(model, data.evalset, *beside, conf=recipe.evaluate.chat)
    return evaluate.evaluate_classifier(model, data.evalset, data.documents, conf=recipe.evaluate.classifier)


def decide(recipe: Recipe, release: RegisterConf, candidate: Any, champion: Any) -> Any:
    """The gate's decision."""
    gates: dict[str, GateConf] = {
        "base": recipe.evaluate.gates.lm,
        "chat": recipe.evaluate.gates.chat,
        "classifier": recipe.evaluate.gates.classifier,
    }
    return evaluate.gate(candidate, champion, conf=gates[release.kind])
