"""Language models that continue text: what was pretrained, measured by bits per byte beside gzip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from conf.schema.model_recipe import ModelRecipe
from tasks.formats.metrics import BITS_PER_BYTE, NATS, PERPLEXITY
from tasks.models.causal_lm.lm_options import LmEval, LmGate
from tasks.models.causal_lm.steps import evaluate_lm
from tasks.models.kind import Inputs, Kind, Offer, Offers

if TYPE_CHECKING:
    from tasks.evaluate.metric import ItemMetric


class CausalLmModel(ModelRecipe):
    """A model that continues text: what it starts from, as it is."""

    kind: Literal["causal_lm"]
    """Always causal_lm."""
    evaluate: LmEval = LmEval()
    """How it is measured."""
    gate: LmGate = LmGate()
    """What it has to show before it is promoted."""
    reads_bytes: ClassVar[bool] = True


class CausalLm(Kind):
    """A model that continues text."""

    name = "causal_lm"
    former = ("base",)
    noun = "a language model"
    what = "A language model; it continues text."
    limits = "It states untrue things fluently, knows only its training text, and follows no instructions."
    evaluation = evaluate_lm
    measures = (BITS_PER_BYTE, PERPLEXITY, NATS)
    compared = (BITS_PER_BYTE,)
    baselines: ClassVar = {"gzip": "gzip\u00a0-9"}
    answering = "tasks.models.causal_lm.continuing"
    params: ClassVar = {"max_new_tokens": 64, "temperature": 0.8, "seed": 0}

    def evaluate(self, conf: CausalLmModel, model: Any, data: Inputs, about: str | None = None) -> Any:
        """Bits per byte of the held-out documents."""
        return evaluate_lm(model, data.evalset, conf=conf.measurement, about=about)

    def metrics(self) -> Mapping[str, ItemMetric]:
        """Of texts."""
        from tasks.evaluate import metric

        return {one.name: one for one in (metric.BITS_PER_BYTE, metric.NATS)}

    def suggest(self, offers: Offers) -> Offer | None:
        """The base model of the recipe that a first one starts from, with prompts from the text."""
        return Offer("base", {"evaluate": {"prompts": list(dict.fromkeys(offers.beginnings))[:3] or ["The"]}})

    def prompt(self, conf: Mapping[str, Any]) -> str:
        """The first of those that it was measured with."""
        return next(iter(conf["evaluate"]["prompts"]), "The")


OPTIONS = CausalLmModel
KIND = CausalLm()
