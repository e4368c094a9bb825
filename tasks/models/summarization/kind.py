"""Models that summarize: they read a text and write a shorter one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from conf.schema.methods import FullMethod
from conf.schema.model_recipe import ModelRecipe
from tasks.models.kind import Inputs, Kind, forecast_tuning, weights
from tasks.models.sequence import overlap_metrics
from tasks.models.sequence.sequence_options import SequenceConf, SequenceEval, SequenceMethod, SequenceTraining
from tasks.models.summarization.steps import evaluate_summarization, finetune_summarization, texts_for_summarization
from tasks.models.summarization.summarization_options import SummarizationGate

if TYPE_CHECKING:
    from tasks.evaluate.metric import ItemMetric


class SummarizationModel(ModelRecipe):
    """A sequence-to-sequence model, fine-tuned to summarize, of an encoder with a decoder (T5, BART)."""

    kind: Literal["summarization"]
    """Always summarization."""
    method: SequenceMethod = FullMethod(kind="full")
    """Which weights are trained."""
    train: SequenceTraining = SequenceTraining()
    """On what, for how long."""
    evaluate: SequenceEval = SequenceEval()
    """How it is measured."""
    gate: SummarizationGate = SummarizationGate()
    """What it has to show before it is promoted."""
    takes: ClassVar[tuple[str, ...]] = ("span",)
    gives: ClassVar[str | None] = "span"

    @property
    def training(self) -> SequenceConf:
        """What the step gets that trains it."""
        return self.told(SequenceConf.model_validate({**dict(self.train), "method": self.method}))


class Summarization(Kind):
    """A summarization model."""

    name = "summarization"
    noun = "a summarization model"
    what = "A sequence-to-sequence model, fine-tuned to summarize."
    limits = "Its summaries may say what the text does not, and leave out what matters."
    training = finetune_summarization
    evaluation = evaluate_summarization
    measures = overlap_metrics.ALL
    compared = (overlap_metrics.ROUGE_L, overlap_metrics.CHRF)
    baselines: ClassVar = {"lead": "the first three sentences"}
    answering = "tasks.text.rewriting"
    params: ClassVar = {"max_new_tokens": 128, "temperature": 0.0, "seed": 0}

    def train(self, conf: SummarizationModel, start: Any, data: Inputs, about: str | None = None) -> Any:
        """Fine-tune what it starts from."""
        made = finetune_summarization(weights(start), data.documents, conf=conf.training, about=about)
        forecast_tuning(self, conf, start, data, texts_for_summarization)
        return made

    def evaluate(self, conf: SummarizationModel, model: Any, data: Inputs, about: str | None = None) -> Any:
        """Beside the first three sentences."""
        return evaluate_summarization(model, data.evalset, conf=conf.measurement, about=about)

    def metrics(self) -> Mapping[str, ItemMetric]:
        """Of texts that were written."""
        from tasks.models.sequence.overlap import CHRF, ROUGE_L

        return {metric.name: metric for metric in (ROUGE_L, CHRF)}

    def prompt(self, conf: Mapping[str, Any]) -> str:
        """Any text will do."""
        return "a text to be summarized"


OPTIONS = SummarizationModel
KIND = Summarization()
