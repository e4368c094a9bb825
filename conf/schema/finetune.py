"""Options that all kinds of fine-tuning share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from conf.schema.base import Conf, RunConf
from conf.schema.methods import AdapterMethod, FullMethod, HeadMethod
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


class StartNetwork(Conf):
    """What it starts from, with a new head."""

    kind: Literal["start"]
    """Always start."""


class SmallNetwork(Conf):
    """A network of its own, which knows nothing before training: of what it starts from it has the tokenizer alone."""

    width: int = Field(128, ge=1)
    """Size of a token's embedding."""
    dropout: float = Field(0.3, ge=0, lt=1)
    """Share of the embeddings and states that each step of training does without."""
    embeddings: Literal["new", "start"] = "new"
    """Whether tokens have new embeddings, or begin with those of what it starts from, whose width they then have."""


class LstmNetwork(SmallNetwork):
    """Recurrence over tokens (Hochreiter and Schmidhuber 1997)."""

    kind: Literal["lstm"]
    """Always lstm."""
    hidden: int = Field(256, ge=2, multiple_of=2)
    """Size of a token's state, of both directions together."""
    layers: int = Field(1, ge=1)
    """Layers, one above the other."""
    bidirectional: bool = True
    """Whether a text is read from both ends."""

    def body(self, vocab_size: int) -> dict[str, Any]:
        """As the network's config has it."""
        return {
            "model_type": "lstm", "vocab_size": vocab_size, "width": self.width, "hidden_size": self.hidden,
            "layers": self.layers, "both": self.bidirectional, "dropout": self.dropout,
        }  # fmt: skip


class CnnNetwork(SmallNetwork):
    """Convolutions over runs of tokens (Kim 2014)."""

    kind: Literal["cnn"]
    """Always cnn."""
    channels: int = Field(100, ge=1)
    """Patterns that are looked for, of each length."""
    sizes: tuple[Annotated[int, Field(ge=1)], ...] = Field((3, 4, 5), min_length=1)
    """Lengths of the runs, in tokens."""

    def body(self, vocab_size: int) -> dict[str, Any]:
        """As the network's config has it."""
        return {
            "model_type": "cnn", "vocab_size": vocab_size, "width": self.width,
            "hidden_size": self.channels * len(self.sizes), "sizes": list(self.sizes), "dropout": self.dropout,
        }  # fmt: skip


class TextTuneConf(TuneConf):
    """What all kinds share that say one thing of a whole text."""

    network: Annotated[StartNetwork | LstmNetwork | CnnNetwork, Field(discriminator="kind")] = StartNetwork(
        kind="start"
    )
    """What reads the text: what it starts from, or a small network beside which that has to be worth its size."""
    pooling: Literal["auto", "mean", "mean_max", "first", "last"] = "auto"
    """What the head reads of the states of a text's tokens: their mean, the mean and the largest value of each
    dimension, or one token's. auto: the mean of a causal model; of an encoder a classifier has the head that it brings
    along, others the mean; of a small network the mean and the largest."""
    ngrams: int = Field(2, ge=0, le=4)
    """Beside the states the head reads runs of up to so many tokens, by a linear model (fastText's); 0: states alone.
    What single words give away a small network would see late. Not with the head that an encoder brings."""
    buckets: int = Field(65_536, ge=1)
    """Runs of each length that are told apart; more share a place by their hash."""
    max_length: Annotated[int, Field(ge=8)] | Literal["auto"] = "auto"
    """Longest example in tokens; the rest is cut off. At most the model's context. auto: so long that 95 of 100
    training texts are whole, if neither the context nor length_limit is shorter."""
    length_limit: int = Field(512, ge=8)
    """Most tokens that max_length=auto takes: training takes as much longer as texts are."""
    patience: int = Field(3, ge=1)
    """Stop after this many evaluations without a better loss; the best weights are kept."""
    later: ClassVar[frozenset[str]] = frozenset({"network"})

    def check_method(self, method: FullMethod | AdapterMethod | HeadMethod) -> None:
        """Raise `ValueError` for a method that only suits a network which knows something already."""
        if self.network.kind != "start" and method != FullMethod(kind="full"):
            raise ValueError(
                f"a network of kind {self.network.kind} knows nothing before training, so that all of it is trained: "
                "leave method out"
            )
