"""Models that translate: they read a text and write it in another language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from conf.schema.methods import FullMethod
from conf.schema.model_recipe import ModelRecipe
from tasks.models.kind import Inputs, Kind, forecast_tuning, weights
from tasks.models.sequence import overlap_metrics
from tasks.models.sequence.sequence_options import SequenceConf, SequenceEval, SequenceMethod, SequenceTraining
from tasks.models.translation.steps import evaluate_translation, finetune_translation, texts_for_translation
from tasks.models.translation.translation_options import TranslationGate

if TYPE_CHECKING:
    from tasks.evaluate.metric import ItemMetric


class TranslationModel(ModelRecipe):
    """A sequence-to-sequence model, fine-tuned to translate, of an encoder with a decoder (T5, BART)."""

    kind: Literal["translation"]
    """Always translation."""
    method: SequenceMethod = FullMethod(kind="full")
    """Which weights are trained."""
    train: SequenceTraining = SequenceTraining()
    """On what, for how long."""
    evaluate: SequenceEval = SequenceEval()
    """How it is measured."""
    gate: TranslationGate = TranslationGate()
    """What it has to show before it is promoted."""
    takes: ClassVar[tuple[str, ...]] = ("span",)
    gives: ClassVar[str | None] = "span"

    @property
    def training(self) -> SequenceConf:
        """What the step gets that trains it."""
        return self.told(SequenceConf.model_validate({**dict(self.train), "method": self.method}))


class Translation(Kind):
    """A translation model."""

    name = "translation"
    noun = "a translation model"
    what = "A sequence-to-sequence model, fine-tuned to translate."
    limits = (
        "It writes fluently also what it has misunderstood, from and into the languages of its training texts alone."
    )
    training = finetune_translation
    evaluation = evaluate_translation
    measures = overlap_metrics.ALL
    compared = (overlap_metrics.CHRF, overlap_metrics.BLEU)
    baselines: ClassVar = {"copy": "the text as it is"}
    answering = "tasks.text.rewriting"
    params: ClassVar = {"max_new_tokens": 128, "temperature": 0.0, "seed": 0}

    def train(self, conf: TranslationModel, start: Any, data: Inputs, about: str | None = None) -> Any:
        """Fine-tune what it starts from."""
        made = finetune_translation(weights(start), data.documents, conf=conf.training, about=about)
        forecast_tuning(self, conf, start, data, texts_for_translation)
        return made

    def evaluate(self, conf: TranslationModel, model: Any, data: Inputs, about: str | None = None) -> Any:
        """Beside the text as it is."""
        return evaluate_translation(model, data.evalset, conf=conf.measurement, about=about)

    def metrics(self) -> Mapping[str, ItemMetric]:
        """Of texts that were written."""
        from tasks.models.sequence.overlap import BLEU, CHRF

        return {metric.name: metric for metric in (CHRF, BLEU)}

    def prompt(self, conf: Mapping[str, Any]) -> str:
        """Any text will do."""
        return "a text to be translated"


OPTIONS = TranslationModel
KIND = Translation()
