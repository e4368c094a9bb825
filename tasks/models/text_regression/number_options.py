"""Options of a model that says a number of a text."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from conf.schema.evaluate import GateConf, MeasureConf
from conf.schema.finetune import TextTuneConf
from conf.schema.methods import AdapterMethod, FullMethod, HeadMethod

RegressionMethod = Annotated[FullMethod | AdapterMethod | HeadMethod, Field(discriminator="kind")]


class RegressionTraining(TextTuneConf):
    """Fine-tuning on documents with a number (`columns` of their source)."""

    epochs: int = Field(3, ge=1)
    """Passes over the examples, at most."""
    loss: Literal["mse", "huber"] = "mse"
    """Of the error as a share of the numbers' standard deviation: its square (mse), or huber, its square up to one and
    linear beyond, which heeds outliers less."""
    max_documents: int | None = Field(None, ge=1)
    """Most training documents, in order of id; None for all."""


class RegressConf(RegressionTraining):
    """What the step gets that trains."""

    method: RegressionMethod = FullMethod(kind="full")
    """Which weights are trained."""


class RegressionEval(MeasureConf):
    """The numbers of held-out documents, beside those of baselines."""

    vocabulary: int = Field(50_000, ge=100)
    """Words that the TF-IDF baseline counts: the most frequent ones."""


class RegressionGate(GateConf):
    """The gate of a model that says a number."""

    metric: Literal["mae", "rmse"] = "mae"
    """What is compared, on the same items, both better low: the mean absolute error, or the root of the mean square."""
    floors: tuple[Literal["mean", "ridge"], ...] = ("mean", "ridge")
    """What it has to beat, or []: the mean of the training numbers, and ridge regression over TF-IDF."""
