"""Evaluation on the frozen evaluation set: one way to measure each kind of model."""

from __future__ import annotations

from typing import Any

from conf.schema.evaluate import GateConf
from conf.schema.recipe import Recipe
from conf.schema.release import RegisterConf
from flows.data import Data
from tasks.evaluate import steps as evaluate


def measure(recipe: Recipe, data: Data, kind: str, model: Any) -> Any:
    """The evaluation of a model directory: of the candidate and, on the same items, of the champion."""
    if kind == "base":
        return evaluate.evaluate_lm(model, data.evalset, conf=recipe.evaluate.lm)
    if kind == "chat":
        return evaluate.evaluate_chat(model, data.evalset, conf=recipe.evaluate.chat)
    return evaluate.evaluate_classifier(model, data.evalset, data.documents, conf=recipe.evaluate.classifier)


def measure_baselines(recipe: Recipe, data: Data, kind: str, model: Any, start: Any) -> tuple[Any, ...]:
    """The evaluations of baselines that are models themselves: of what a chat model was fine-tuned from."""
    if kind != "chat" or "untuned" not in recipe.evaluate.gates.chat.floors:
        return ()
    return (evaluate.score_start(start, model, data.evalset, conf=recipe.evaluate.chat),)


def decide(
    recipe: Recipe, release: RegisterConf, candidate: Any, champion: Any, baselines: tuple[Any, ...] = ()
) -> Any:
    """The gate's decision."""
    gates: dict[str, GateConf] = {
        "base": recipe.evaluate.gates.lm,
        "chat": recipe.evaluate.gates.chat,
        "classifier": recipe.evaluate.gates.classifier,
    }
    return evaluate.gate(candidate, champion, *baselines, conf=gates[release.kind])
