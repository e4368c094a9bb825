"""Language models that continue text: what was pretrained, measured by bits per byte beside gzip."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import model_validator

from conf.schema.model_recipe import ModelRecipe
from tasks.formats.metrics import BITS_PER_BYTE, NATS, PERPLEXITY
from tasks.models.causal_lm.lm_options import LmConf, LmEval, LmGate, LmMethod, LmTraining
from tasks.models.causal_lm.steps import evaluate_lm, finetune_lm, score_before, texts_to_go_on_with
from tasks.models.kind import Inputs, Kind, Offer, Offers, forecast_tuning, weights

if TYPE_CHECKING:
    from tasks.evaluate.metric import ItemMetric


class CausalLmModel(ModelRecipe):
    """A model that continues text: what it starts from, as it is or trained further."""

    kind: Literal["causal_lm"]
    """Always causal_lm."""
    method: LmMethod | None = None
    """Which weights are trained further; null: all of them."""
    train: LmTraining | None = None
    """On what it is trained further, for how long; null: it stays as it is."""
    evaluate: LmEval = LmEval()
    """How it is measured."""
    gate: LmGate = LmGate()
    """What it has to show before it is promoted."""
    reads_bytes: ClassVar[bool] = True
    later: ClassVar[frozenset[str]] = frozenset({"method", "train"})

    @model_validator(mode="after")
    def _trained_or_not(self) -> Self:
        if self.method is not None and self.train is None:
            raise ValueError("method says which weights are trained, and without train none are: add train={}")
        if self.train is None and "untuned" in self.gate.floors:
            raise ValueError(
                "the floor untuned is the model before training, and without train there is none: leave it out"
            )
        if self.train is not None and "floors" not in self.gate.model_fields_set:
            gate = self.gate.model_copy(update={"floors": (*self.gate.floors, "untuned")})
            object.__setattr__(self, "gate", gate)
        return self

    @property
    def training(self) -> LmConf | None:
        """What the step gets that trains it; None for a model that stays as it is."""
        if self.train is None:
            return None
        method = {} if self.method is None else {"method": self.method}
        return self.told(LmConf.model_validate({**dict(self.train), **method}))


class CausalLm(Kind):
    """A model that continues text."""

    name = "causal_lm"
    former = ("base",)
    noun = "a language model"
    what = "A language model; it continues text."
    limits = "It states untrue things fluently, knows only its training text, and follows no instructions."
    training = finetune_lm
    evaluation = evaluate_lm
    measuring = (score_before,)
    measures = (BITS_PER_BYTE, PERPLEXITY, NATS)
    compared = (BITS_PER_BYTE,)
    baselines: ClassVar = {"gzip": "gzip\u00a0-9", "untuned": "before fine-tuning"}
    answering = "tasks.models.causal_lm.continuing"
    params: ClassVar = {"max_new_tokens": 64, "temperature": 0.8, "seed": 0}

    def train(self, conf: CausalLmModel, start: Any, data: Inputs, about: str | None = None) -> Any:
        """Go on with its training, if that is asked for."""
        if conf.training is None:
            return start
        made = finetune_lm(weights(start), data.documents, conf=conf.training, about=about)
        forecast_tuning(self, conf, start, data, texts_to_go_on_with)
        return made

    def before(self, conf: CausalLmModel, start: Any, model: Any, data: Inputs, about: str | None = None) -> Any:
        """What it was trained from, on the same documents."""
        if "untuned" not in conf.gate.floors:
            return ()
        return (score_before(weights(start), data.evalset, conf=conf.measurement, about=about),)

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
