"""Models that find spans in a text: names of people and places, parts of an address, terms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from conf.schema.methods import FullMethod
from conf.schema.model_recipe import ModelRecipe
from tasks.models.kind import Inputs, Kind, Named, Offer, Offers, forecast_tuning, weights
from tasks.models.token_classification import span_metrics
from tasks.models.token_classification.span_options import SpanConf, SpanEval, SpanGate, SpanMethod, SpanTraining
from tasks.models.token_classification.steps import evaluate_spans, finetune_spans, texts_with_spans

if TYPE_CHECKING:
    from tasks.evaluate.metric import ItemMetric


class SpanModel(ModelRecipe):
    """A model that finds spans in a text, each with a label."""

    kind: Literal["token_classification"]
    """Always token_classification."""
    method: SpanMethod = FullMethod(kind="full")
    """Which weights are trained."""
    train: SpanTraining = SpanTraining()
    """On what, for how long."""
    evaluate: SpanEval = SpanEval()
    """How it is measured."""
    gate: SpanGate = SpanGate()
    """What it has to show before it is promoted."""
    takes: ClassVar[tuple[str, ...]] = ("causal", "masked")
    gives: ClassVar[str | None] = None

    @property
    def training(self) -> SpanConf:
        """What the step gets that trains it."""
        return self.told(SpanConf.model_validate({**dict(self.train), "method": self.method}))


class TokenClassification(Kind):
    """A model that finds spans in a text."""

    name = "token_classification"
    noun = "a model that finds spans"
    what = "A token classifier, fine-tuned from a language model: it finds spans of a text, each with a label."
    limits = "It finds spans of the labels that it was trained on alone, none within another, and misses unusual ones."
    training = finetune_spans
    evaluation = evaluate_spans
    measures = span_metrics.ALL
    compared = (span_metrics.SPAN_F1,)
    baselines: ClassVar = {"dictionary": "dictionary of the training spans"}
    answering = "tasks.models.token_classification.tagging"
    columns: ClassVar = {"spans": "spans"}

    def train(self, conf: SpanModel, start: Any, data: Inputs, about: str | None = None) -> Any:
        """Put a head on what it starts from, and train both."""
        made = finetune_spans(weights(start), data.documents, conf=conf.training, about=about)
        forecast_tuning(self, conf, start, data, texts_with_spans)
        return made

    def evaluate(self, conf: SpanModel, model: Any, data: Inputs, about: str | None = None) -> Any:
        """Beside a dictionary of the same documents."""
        return evaluate_spans(model, data.evalset, data.documents, conf=conf.measurement, about=about)

    def metrics(self) -> Mapping[str, ItemMetric]:
        """Of spans."""
        from tasks.models.token_classification.spans import SPAN_F1

        return {SPAN_F1.name: SPAN_F1}

    def suggest(self, offers: Offers) -> Offer | None:
        """Where columns say what it learns."""
        if not {"spans", "tags"} & offers.said:
            return None
        how = {"epochs": 3, "length_limit": 192}
        options = {"kind": self.name, "start": "base", "train": how, "register": Named("spans")}
        return Offer("spans", options, "spans give a model that finds such")

    def prompt(self, conf: Mapping[str, Any]) -> str:
        """Any text will do."""
        return "a text in which spans are to be found"


OPTIONS = SpanModel
KIND = TokenClassification()
