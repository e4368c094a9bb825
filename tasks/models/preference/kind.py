"""Models that are taught which answers are better: by pairs of them, measured on held-out pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from conf.schema.methods import AdapterMethod
from conf.schema.model_recipe import ModelRecipe
from tasks.models.kind import Inputs, Kind, Named, Offer, Offers, forecast_tuning, weights
from tasks.models.preference import preference_metrics
from tasks.models.preference.preference_options import (
    PreferenceConf,
    PreferenceEval,
    PreferenceGate,
    PreferenceMethod,
    PreferenceTraining,
)
from tasks.models.preference.steps import (
    both_answers,
    evaluate_preference,
    finetune_preference,
    score_pairs_before,
)

if TYPE_CHECKING:
    from tasks.evaluate.metric import ItemMetric


class PreferenceModel(ModelRecipe):
    """A model that answers, taught by pairs of answers of which one is better."""

    kind: Literal["preference"]
    """Always preference."""
    method: PreferenceMethod = AdapterMethod(kind="lora")
    """Which weights are trained."""
    train: PreferenceTraining = PreferenceTraining()
    """On what, for how long."""
    evaluate: PreferenceEval = PreferenceEval()
    """How it is measured."""
    gate: PreferenceGate = PreferenceGate()
    """What it has to show before it is promoted."""

    @property
    def training(self) -> PreferenceConf:
        """What the step gets that trains it."""
        return self.told(PreferenceConf.model_validate({**dict(self.train), "method": self.method}))


class Preference(Kind):
    """A model that was taught which answers are better."""

    name = "preference"
    noun = "a chat model taught by preferences"
    what = "A chat model, taught by pairs of answers which of them is better; it answers."
    limits = "It prefers what those who chose the answers preferred; its own are neither checked nor filtered."
    training = finetune_preference
    evaluation = evaluate_preference
    measuring = (score_pairs_before,)
    measures = preference_metrics.ALL
    compared = (preference_metrics.ACCURACY, preference_metrics.MARGIN)
    baselines: ClassVar = {"untuned": "before fine-tuning", "longer": "the longer answer"}
    answering = "tasks.text.conversing"
    params: ClassVar = {"max_new_tokens": 64, "temperature": 0.8, "seed": 0}
    converses = True

    def train(self, conf: PreferenceModel, start: Any, data: Inputs, about: str | None = None) -> Any:
        """Fine-tune what it starts from."""
        made = finetune_preference(weights(start), data.documents, conf=conf.training, about=about)
        forecast_tuning(self, conf, start, data, both_answers)
        return made

    def evaluate(self, conf: PreferenceModel, model: Any, data: Inputs, about: str | None = None) -> Any:
        """On the held-out pairs."""
        return evaluate_preference(model, data.evalset, conf=conf.measurement, about=about)

    def before(self, conf: PreferenceModel, start: Any, model: Any, data: Inputs, about: str | None = None) -> Any:
        """What it was fine-tuned from, on the same pairs."""
        if "untuned" not in conf.gate.floors:
            return ()
        return (score_pairs_before(weights(start), model, data.evalset, conf=conf.measurement, about=about),)

    def metrics(self) -> Mapping[str, ItemMetric]:
        """Of pairs."""
        from tasks.models.preference.preference_evaluation import ACCURACY, MARGIN

        return {metric.name: metric for metric in (ACCURACY, MARGIN)}

    def suggest(self, offers: Offers) -> Offer | None:
        """Where columns say what it learns."""
        if "rejected" not in offers.said:
            return None
        options = {"kind": self.name, "start": "base", "train": {"epochs": 1}, "register": Named("preference")}
        return Offer("preference", options, "worse answers teach a model which are better")

    def prompt(self, conf: Mapping[str, Any]) -> str:
        """The first of those that it was measured with."""
        return next(iter(conf["evaluate"]["prompts"]), "Hello!")


OPTIONS = PreferenceModel
KIND = Preference()
