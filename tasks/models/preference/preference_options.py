"""Options of a model that is taught by pairs of answers, of which one is better."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from conf.schema.evaluate import GateConf, SampleSpec, WindowConf
from conf.schema.finetune import TuneConf
from conf.schema.methods import AdapterMethod, FullMethod

PreferenceMethod = Annotated[FullMethod | AdapterMethod, Field(discriminator="kind")]
REFERENCES = ("dpo", "ipo")
"""Losses that look at what the model said before training."""


class PreferenceTraining(TuneConf):
    """Fine-tuning on conversations with a worse last answer beside (columns.rejected of their source)."""

    loss: Literal["dpo", "ipo", "orpo", "simpo"] = "dpo"
    """dpo: Rafailov et al. 2023; ipo: Azar et al. 2023, which does not drive apart what is told apart already; orpo:
    Hong et al. 2024, which teaches the chosen answers too; simpo: Meng et al. 2024. The latter two do not look at what
    the model said before training."""
    beta: float | None = Field(None, gt=0)
    """How strongly pairs are driven apart: of dpo and ipo by how little the model may move from where it began (null:
    0.1), of orpo the weight of the odds (null: 0.1), of simpo the scale of the reward (null: 2)."""
    margin: float = Field(0.5, ge=0)
    """Of simpo: by how much the chosen answer's reward is to be larger, as a share of beta."""
    answer_weight: float = Field(0.0, ge=0)
    """Weight of the chosen answer's loss in nats per token, beside that of the pair (of orpo that is 1 in addition)."""
    max_length: Annotated[int, Field(ge=8)] | Literal["auto"] = "auto"
    """Longest conversation in tokens, at most the model's context; of a longer one the beginning is cut off. auto: as
    long as the longest, or the context."""
    max_pairs: int | None = Field(None, ge=1)
    """How many pairs to train on, in order of id; None for all."""

    @property
    def strength(self) -> float:
        """beta, or what its loss has by default."""
        return self.beta if self.beta is not None else 2.0 if self.loss == "simpo" else 0.1


class PreferenceConf(PreferenceTraining):
    """What the step gets that trains."""

    method: PreferenceMethod = AdapterMethod(kind="lora")
    """Which weights are trained."""


class PreferenceEval(WindowConf):
    """Held-out pairs: which answer the model finds likelier."""

    prompts: tuple[str, ...] = ("Hello! How are you?", "What do you like to do on weekends?", "Tell me about yourself.")
    """Messages to answer."""
    samples: SampleSpec = SampleSpec()
    """How they are answered."""


class PreferenceGate(GateConf):
    """The gate of a model that is taught by pairs."""

    metric: Literal["preference_accuracy", "preference_margin"] = "preference_accuracy"
    """What is compared, on the same pairs, both better high: the share in which the chosen answer is the likelier one
    by token, or by how many nats per token it is."""
    floors: tuple[Literal["untuned", "longer"], ...] = ("untuned",)
    """What it has to beat, or []: the model before training; the longer answer (in preference_accuracy)."""

    @model_validator(mode="after")
    def _longer_has_no_margin(self) -> Self:
        if self.metric == "preference_margin" and "longer" in self.floors:
            raise ValueError("the floor longer is of metric=preference_accuracy: a length has no nats")
        return self
