"""Options of a language model: how its texts are measured."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from conf.schema.evaluate import GateConf, SampleSpec, WindowConf
from conf.schema.finetune import TuneConf
from conf.schema.methods import AdapterMethod, FullMethod

LmMethod = Annotated[FullMethod | AdapterMethod, Field(discriminator="kind")]


class LmTraining(TuneConf):
    """Going on with pretraining, on texts of one's own."""

    max_length: Annotated[int, Field(ge=8)] | Literal["auto"] = "auto"
    """Longest example in tokens, at most the model's context; a longer text becomes several. auto: the context, or
    length_limit where that is shorter."""
    length_limit: int = Field(1024, ge=8)
    """Most tokens that max_length=auto takes: training takes as much longer as examples are."""
    max_documents: int | None = Field(None, ge=1)
    """How many documents to train on, in order of id; None for all. They are held in memory: for more than some
    hundred million tokens start pretraining from the model (pretrain.segments.NAME.start)."""
    patience: int | None = Field(None, ge=1)
    """Stop after this many evaluations without a better loss, and keep the best weights; None: never."""


class LmConf(LmTraining):
    """What the step gets that trains."""

    method: LmMethod = FullMethod(kind="full")
    """Which weights are trained."""


class LmEval(WindowConf):
    """Held-out bits per byte of a language model."""

    prompts: tuple[str, ...] = ("Return the", "This function", "The")
    """Beginnings to continue."""
    samples: SampleSpec = SampleSpec()
    """How they are continued."""


class LmGate(GateConf):
    """The gate of a language model."""

    metric: Literal["bits_per_byte", "nats"] = "bits_per_byte"
    """What is compared, on the same items: bits per byte or nats (mean loss of a document), both better low."""
    floors: tuple[Literal["gzip", "untuned"], ...] = ("gzip",)
    """What it has to beat, or []: gzip -9 of the same text; untuned, the model that it was trained from. Where it is
    trained, both unless others are named."""
