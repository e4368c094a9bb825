"""Options of a chat model: adapters, conversations, answers that are measured."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from conf.schema.base import Conf
from conf.schema.evaluate import GateConf, SampleSpec, WindowConf
from conf.schema.finetune import TuneConf


class LoraSpec(Conf):
    """Low-rank adapters (Hu et al. 2021), merged into the weights at the end."""

    rank: int = Field(16, ge=1)
    """Rank of the update of each linear layer."""
    alpha: int = Field(32, ge=1)
    """Scale of the update; the factor is alpha / rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout on the adapters' input."""
    train_special_tokens: bool = True
    """Also train the embeddings of the special tokens, which pretraining has not met."""


class LoraMethod(LoraSpec):
    """Low-rank adapters (Hu et al. 2021), merged into the weights at the end."""

    kind: Literal["lora"]
    """Always lora."""


class ChatTraining(TuneConf):
    """Fine-tuning on conversations."""

    max_length: Annotated[int, Field(ge=8)] | Literal["auto"] = "auto"
    """Longest example in tokens, at most the model's context; a longer conversation is split at turns into several, in
    which each answer carries its loss once. auto: as long as the longest conversation, or the context."""
    max_conversations: int | None = Field(None, ge=1)
    """How many conversations to train on, in order of id; None for all."""


class ChatConf(ChatTraining):
    """What the step gets that trains."""

    lora: LoraSpec = LoraSpec()
    """The adapters."""


class ChatEval(WindowConf):
    """Held-out bits per byte of the answers in conversations."""

    prompts: tuple[str, ...] = ("Hello! How are you?", "What do you like to do on weekends?", "Tell me about yourself.")
    """Messages to answer."""
    samples: SampleSpec = SampleSpec()
    """How they are answered."""


class ChatGate(GateConf):
    """The gate of a chat model."""

    metric: Literal["bits_per_byte", "nats"] = "bits_per_byte"
    """What is compared, on the same items: bits per byte or nats (mean loss of a conversation), both better low."""
    floors: tuple[Literal["untuned"], ...] = ("untuned",)
    """What it has to beat, or []: the model that it was fine-tuned from, on the same answers."""
