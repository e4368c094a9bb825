"""Options of models that read one text and write another."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from conf.schema.evaluate import MeasureConf
from conf.schema.finetune import TuneConf
from conf.schema.methods import AdapterMethod, FullMethod

SequenceMethod = Annotated[FullMethod | AdapterMethod, Field(discriminator="kind")]


class SequenceTraining(TuneConf):
    """Fine-tuning on texts with another one beside (columns.target of their source)."""

    epochs: int = Field(3, ge=1)
    """Passes over the examples, at most."""
    prefix: str = ""
    """What stands before each text that is read, as "translate English to German: " for T5."""
    max_length: Annotated[int, Field(ge=8)] | Literal["auto"] = "auto"
    """Most tokens of a text that are read; the rest is cut off. auto: so many that 95 of 100 training texts are whole,
    if length_limit is not less."""
    length_limit: int = Field(512, ge=8)
    """Most tokens that max_length=auto takes."""
    target_length: int = Field(128, ge=2)
    """Most tokens of a text that is written; examples whose target is longer are left out and counted."""
    max_documents: int | None = Field(None, ge=1)
    """Most training documents, in order of id; None for all."""
    patience: int | None = Field(3, ge=1)
    """Stop after this many evaluations without a better loss; the best weights are kept. None: never."""
    beams: int = Field(1, ge=1)
    """Beams of the search for the likeliest text, when it is measured and asked; 1: the likeliest token each time."""


class SequenceConf(SequenceTraining):
    """What the step gets that trains."""

    method: SequenceMethod = FullMethod(kind="full")
    """Which weights are trained."""


class SequenceEval(MeasureConf):
    """What is written of held-out texts, beside what baselines write."""

    tokenize: Literal["13a", "intl", "char", "zh"] = "13a"
    """How BLEU parts words (sacrebleu's tokenizers): 13a for languages with spaces, zh for Chinese, char for others
    that have none."""
    max_documents: int | None = Field(500, ge=1)
    """Most held-out documents that are written of, in order of id; None for all."""
