"""Classifiers of texts: fine-tuned on labelled documents, measured beside the majority class and naive Bayes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import model_validator

from conf.schema.methods import FullMethod
from conf.schema.model_recipe import ModelRecipe
from tasks.core.step import foresee, observe
from tasks.models.kind import Inputs, Kind, Named, Offer, Offers, forecast_tuning, reading, weights
from tasks.models.text_classification import label_metrics
from tasks.models.text_classification.classifier_options import (
    ClassifierEval,
    ClassifierGate,
    ClassifierMethod,
    ClassifierTraining,
    ClassifyConf,
    TranslateConf,
)
from tasks.models.text_classification.steps import (
    evaluate_classifier,
    finetune_classifier,
    foresee_classifier,
    texts_with_labels,
    translate_examples,
)
from tasks.models.text_classification.translators import observe_translators

if TYPE_CHECKING:
    from tasks.evaluate.metric import ItemMetric

PER_CLASS = 1000
"""Examples of a class that a first recipe trains on; of fewer it makes more passes."""
FEWEST = 40
"""Documents of a label that make it worth telling apart."""


class ClassifierModel(ModelRecipe):
    """A model that gives a text one of the labels that it was trained on, with probabilities."""

    kind: Literal["text_classification"]
    """Always text_classification."""
    method: ClassifierMethod = FullMethod(kind="full")
    """Which weights are trained."""
    train: ClassifierTraining = ClassifierTraining()
    """On what, for how long."""
    evaluate: ClassifierEval = ClassifierEval()
    """How it is measured."""
    gate: ClassifierGate = ClassifierGate()
    """What it has to show before it is promoted."""
    takes: ClassVar[tuple[str, ...]] = ("causal", "masked")
    gives: ClassVar[str | None] = None

    @model_validator(mode="after")
    def _several_are_compared_by_each(self) -> Self:
        if self.train.several and "metric" not in self.gate.model_fields_set:
            gate = self.gate.model_copy(update={"metric": "macro_f1"})
            object.__setattr__(self, "gate", gate)
        return self

    @model_validator(mode="after")
    def _method_suits(self) -> Self:
        self.train.check_method(self.method)
        return self

    @property
    def training(self) -> ClassifyConf:
        """What the step gets that trains it."""
        return self.told(ClassifyConf.model_validate({**dict(self.train), "method": self.method}))


class TextClassification(Kind):
    """A model that gives a text one of some labels."""

    name = "text_classification"
    former = ("classifier",)
    noun = "a classifier"
    what = "A text classifier, fine-tuned from a language model."
    limits = "It picks one of the labels that it was trained on, also for a text that fits none of them."
    training = finetune_classifier
    evaluation = evaluate_classifier
    measures = label_metrics.ALL
    compared = (label_metrics.ACCURACY, label_metrics.MACRO_F1)
    baselines: ClassVar = {
        "majority": "majority class",
        "naive_bayes": "naive Bayes",
        "logistic": "TF-IDF with logistic regression",
    }
    answering = "tasks.models.text_classification.labelling"
    columns: ClassVar = {"label": "string", "probabilities": "probabilities"}

    def train(self, conf: ClassifierModel, start: Any, data: Inputs, about: str | None = None) -> Any:
        """Put a head on what it starts from, and train both."""
        copies = self._translated(conf.training, data, about)
        made = finetune_classifier(weights(start), data.documents, *copies, conf=conf.training, about=about)
        if known := reading(conf, start, data):
            foresee(finetune_classifier, foresee_classifier, data.documents, *known, conf=conf.training)
        forecast_tuning(self, conf, start, data, texts_with_labels)
        return made

    def _translated(self, conf: ClassifyConf, data: Inputs, about: str | None) -> tuple[Any, ...]:
        """The examples' copies by translation and back; none where they are not asked for."""
        if not conf.augment or not conf.augment.translate:
            return ()
        models = observe(f"translators/{data.recipe}", observe_translators, conf.augment.translate)
        return (translate_examples(data.documents, models, conf=TranslateConf(classify=conf), about=about),)

    def evaluate(self, conf: ClassifierModel, model: Any, data: Inputs, about: str | None = None) -> Any:
        """Beside baselines that are trained on the same documents."""
        return evaluate_classifier(model, data.evalset, data.documents, conf=conf.measurement, about=about)

    def metrics(self) -> Mapping[str, ItemMetric]:
        """Of labels."""
        from tasks.evaluate.metric import NATS
        from tasks.models.text_classification.quality import ACCURACY, MACRO_F1

        return {metric.name: metric for metric in (NATS, ACCURACY, MACRO_F1)}

    def suggest(self, offers: Offers) -> Offer | None:
        """Where two labels have enough documents; passes for as many examples as a small model needs. Where columns say
        several labels of a text, a model of these."""
        if "labels" in offers.said:
            several = {"several": True, "epochs": 3, "length_limit": 192, "learning_rate": 0.002}
            made = {"kind": self.name, "start": "base", "train": several, "register": Named("labels")}
            return Offer("labels", made, "lists of labels give a classifier of several")
        if sum(count >= FEWEST for count in offers.labels) < 2:
            return None
        seen = sum(min(count, PER_CLASS) for count in offers.labels)
        epochs = min(max(round(10_000 / max(seen, 1)), 3), 10)
        how = {"epochs": epochs, "length_limit": 192, "learning_rate": 0.002, "max_per_class": PER_CLASS}
        options = {"kind": self.name, "start": "base", "train": how, "register": Named("classifier")}
        return Offer("classifier", options, "labels give a classifier")

    def prompt(self, conf: Mapping[str, Any]) -> str:
        """Any text will do."""
        return "a text to be labelled"


OPTIONS = ClassifierModel
KIND = TextClassification()
