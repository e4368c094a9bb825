"""Options of a chat model: conversations, answers that are measured."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from conf.schema.evaluate import GateConf, SampleSpec, WindowConf
from conf.schema.finetune import TuneConf
from conf.schema.methods import AdapterMethod, FullMethod

ChatMethod = Annotated[FullMethod | AdapterMethod, Field(discriminator="kind")]


class ChatTraining(TuneConf):
    """Fine-tuning on conversations."""

    max_length: Annotated[int, Field(ge=8)] | Literal["auto"] = "auto"
    """Longest example in tokens, at most the model's context; a longer conversation is split at turns into several, in
    which each answer carries its loss once. auto: as long as the longest conversation, or the context."""
    max_conversations: int | None = Field(None, ge=1)
    """How many conversations to train on, in order of id; None for all."""


class ChatConf(ChatTraining):
    """What the step gets that trains."""

    method: ChatMethod = AdapterMethod(kind="lora")
    """Which weights are trained."""


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
