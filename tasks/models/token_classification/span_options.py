"""Options of a model that finds spans in a text."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from conf.schema.evaluate import GateConf, MeasureConf
from conf.schema.finetune import TuneConf
from conf.schema.methods import AdapterMethod, FullMethod, HeadMethod

SpanMethod = Annotated[FullMethod | AdapterMethod | HeadMethod, Field(discriminator="kind")]


class SpanTraining(TuneConf):
    """Fine-tuning on documents with spans (`columns` of their source: spans or tags)."""

    epochs: int = Field(3, ge=1)
    """Passes over the examples, at most."""
    max_length: Annotated[int, Field(ge=8)] | Literal["auto"] = "auto"
    """Longest example in tokens, at most the model's context; a longer text becomes several. auto: so long that 95 of
    100 training texts are whole, if neither the context nor length_limit is shorter."""
    length_limit: int = Field(512, ge=8)
    """Most tokens that max_length=auto takes: training takes as much longer as examples are."""
    max_documents: int | None = Field(None, ge=1)
    """Most training documents, in order of id; None for all."""
    patience: int = Field(3, ge=1)
    """Stop after this many evaluations without a better loss; the best weights are kept."""


class SpanConf(SpanTraining):
    """What the step gets that trains."""

    method: SpanMethod = FullMethod(kind="full")
    """Which weights are trained."""


class SpanEval(MeasureConf):
    """The spans of held-out documents, beside those of a dictionary."""


class SpanGate(GateConf):
    """The gate of a model that finds spans."""

    metric: Literal["span_f1"] = "span_f1"
    """What is compared, on the same items: the F1 of whole spans with their labels, over all documents."""
    floors: tuple[Literal["dictionary"], ...] = ("dictionary",)
    """What it has to beat, or []: every span of the training texts, wherever its words stand again."""
