"""Models that say a number of a text: stars of a review, a price, an age."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import model_validator

from conf.schema.methods import FullMethod
from conf.schema.model_recipe import ModelRecipe
from tasks.models.kind import Inputs, Kind, Named, Offer, Offers, forecast_tuning, weights
from tasks.models.text_regression import number_metrics
from tasks.models.text_regression.number_options import (
    RegressConf,
    RegressionEval,
    RegressionGate,
    RegressionMethod,
    RegressionTraining,
)
from tasks.models.text_regression.steps import evaluate_regression, finetune_regression, texts_with_numbers

if TYPE_CHECKING:
    from tasks.evaluate.metric import ItemMetric


class RegressionModel(ModelRecipe):
    """A model that says a number of a text."""

    kind: Literal["text_regression"]
    """Always text_regression."""
    method: RegressionMethod = FullMethod(kind="full")
    """Which weights are trained."""
    train: RegressionTraining = RegressionTraining()
    """On what, for how long."""
    evaluate: RegressionEval = RegressionEval()
    """How it is measured."""
    gate: RegressionGate = RegressionGate()
    """What it has to show before it is promoted."""
    takes: ClassVar[tuple[str, ...]] = ("causal", "masked")
    gives: ClassVar[str | None] = None

    @model_validator(mode="after")
    def _method_suits(self) -> Self:
        self.train.check_method(self.method)
        return self

    @property
    def training(self) -> RegressConf:
        """What the step gets that trains it."""
        return self.told(RegressConf.model_validate({**dict(self.train), "method": self.method}))


class TextRegression(Kind):
    """A model that says a number of a text."""

    name = "text_regression"
    noun = "a regression model"
    what = "A regression model of texts, fine-tuned from a language model: it says a number."
    limits = "It says a number also of a text that is unlike all that it was trained on, and seldom an extreme one."
    training = finetune_regression
    evaluation = evaluate_regression
    measures = number_metrics.ALL
    compared = (number_metrics.MAE, number_metrics.RMSE)
    baselines: ClassVar = {"mean": "mean of the training numbers", "ridge": "TF-IDF with ridge regression"}
    answering = "tasks.models.text_regression.numbering"
    columns: ClassVar = {"number": "number"}

    def train(self, conf: RegressionModel, start: Any, data: Inputs, about: str | None = None) -> Any:
        """Put a head on what it starts from, and train both."""
        made = finetune_regression(weights(start), data.documents, conf=conf.training, about=about)
        forecast_tuning(self, conf, start, data, texts_with_numbers)
        return made

    def evaluate(self, conf: RegressionModel, model: Any, data: Inputs, about: str | None = None) -> Any:
        """Beside baselines that are trained on the same documents."""
        return evaluate_regression(model, data.evalset, data.documents, conf=conf.measurement, about=about)

    def metrics(self) -> Mapping[str, ItemMetric]:
        """Of numbers."""
        from tasks.models.text_regression.numbers import MAE, RMSE

        return {metric.name: metric for metric in (MAE, RMSE)}

    def suggest(self, offers: Offers) -> Offer | None:
        """Where columns say what it learns."""
        if "number" not in offers.said:
            return None
        how = {"epochs": 3, "length_limit": 192}
        options = {"kind": self.name, "start": "base", "train": how, "register": Named("number")}
        return Offer("number", options, "numbers give a regression model")

    def prompt(self, conf: Mapping[str, Any]) -> str:
        """Any text will do."""
        return "a text to be rated"


OPTIONS = RegressionModel
KIND = TextRegression()
