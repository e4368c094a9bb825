"""Options that all kinds of fine-tuning share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from conf.schema.base import Conf, RunConf
from conf.schema.train_run import TrainRun


class FetchRun(RunConf):
    """Where an open model is taken from; which one it is comes in as an observation."""

    start: str
    """As the recipe has it, its folder in full."""
    option: str
    """The option that names it, for messages."""
    about: dict[str, Any]
    """What was found of it."""
    unreachable: str | None = None
    """Why the hub could not be asked what it is now; None if it was."""


class FetchConf(Conf):
    """What the step gets that brings an open model into the store."""

    run: FetchRun
    """Where it is taken from."""


class FinetuneRun(TrainRun):
    """How fine-tuning is run; none of it enters the key.

    One process on the CPU trains within the step's own; several, and those on GPUs, are started and watched as in
    pretraining."""

    model: str = "NAME"
    """The model\'s name in the recipe, for messages; the recipe fills it in."""
    checkpoint_steps: int = Field(50, ge=1)
    """Optimizer steps between two checkpoints."""
    precision: Literal["auto", "fp32", "bf16", "fp8"] = "auto"
    """auto: bf16 on GPUs that compute in it, else fp32. fp8: bf16, with the matrix products within layers in fp8, on
    GPUs of compute capability 8.9 or more with torchao."""
    formerly: ClassVar[Mapping[str, str]] = {"checkpoint_steps": "checkpoint_every"}

    @property
    def option(self) -> str:
        """Where these options stand in a recipe."""
        return f"models.{self.model}.train.run"

    @property
    def smaller(self) -> tuple[str, ...]:
        """What else takes less memory, beside these options."""
        return f"a smaller models.{self.model}.train.max_length", "a smaller model to start from"


class TuneConf(Conf):
    """What all kinds of fine-tuning share."""

    epochs: int = Field(1, ge=1)
    """Passes over the examples, at most."""
    batch_size: int = Field(16, ge=1)
    """Examples per optimizer step."""
    learning_rate: Annotated[float, Field(gt=0)] | Literal["auto"] = "auto"
    """Highest learning rate, reached after warm-up; falls along a cosine to zero. auto: by the width of the model and
    the method, from published recipes (conf/scaling.py)."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of the steps over which the learning rate rises."""
    weight_decay: float = Field(0.01, ge=0)
    """AdamW's decoupled weight decay; norms and biases are left out."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradients are clipped to this norm."""
    eval_every: int = Field(50, ge=1)
    """Optimizer steps between two evaluations on the valid part."""
    max_valid: int = Field(200, ge=1)
    """Most examples of the valid part that an evaluation looks at."""
    seed: int = Field(0, ge=0)
    """Seed of the order of examples and of the new weights."""
    run: FinetuneRun = FinetuneRun()
    """How it is run."""
