"""Options of fine-tuning: chat (LoRA, loss on the answers) and classification (a head on the pretrained body)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from conf.schema.base import Conf, RunConf


class FinetuneRun(RunConf):
    """How fine-tuning is run; none of it enters the key."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train: auto takes a GPU if there is one."""
    threads: int = Field(2, ge=1)
    """CPU threads of one training process. Sums in another order round differently: the last bits depend on it."""
    log_every: int = Field(10, ge=1)
    """Optimizer steps between two logged losses."""
    checkpoint_every: int = Field(50, ge=1)
    """Optimizer steps between two checkpoints."""


class TuneConf(Conf):
    """What both kinds of fine-tuning share."""

    epochs: int = Field(1, ge=1)
    """Passes over the examples, at most."""
    batch_size: int = Field(16, ge=1)
    """Examples per optimizer step."""
    learning_rate: float = Field(5e-4, gt=0)
    """Highest learning rate, reached after warm-up; falls along a cosine to zero."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of the steps over which the learning rate rises."""
    weight_decay: float = Field(0.01, ge=0)
    """AdamW's decoupled weight decay; norms and biases are left out."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Gradients are clipped to this norm."""
    max_length: int = Field(256, ge=8)
    """Longest example in tokens; the rest is cut off. At most the model's context."""
    eval_every: int = Field(50, ge=1)
    """Optimizer steps between two evaluations on the valid part."""
    max_valid: int = Field(200, ge=1)
    """Most examples of the valid part that an evaluation looks at."""
    seed: int = Field(0, ge=0)
    """Seed of the order of examples and of the new weights."""
    run: FinetuneRun = FinetuneRun()
    """How it is run."""


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


class ChatConf(TuneConf):
    """Fine-tuning on conversations."""

    max_conversations: int | None = Field(None, ge=1)
    """How many conversations to train on, in order of id; None for all."""
    lora: LoraSpec = LoraSpec()
    """The adapters."""


class AugmentConf(Conf):
    """Changed copies of a classifier's training examples (EDA: Wei and Zou 2019), drawn by the seed of fine-tuning.

    Names are hidden before and after. The valid and test parts stay as they are.
    """

    copies: int = Field(1, ge=1)
    """Copies of each example, beside the example itself."""
    synonyms: dict[str, Annotated[tuple[str, ...], Field(min_length=1)]] = Field(default_factory=dict)
    """Other words for a word, both in lower case, as {large: [big, great]}."""
    replace: float = Field(0.1, ge=0, le=1)
    """How likely a word that has synonyms is exchanged for one of them."""
    swap: float = Field(0.1, ge=0, le=1)
    """Swaps of two words, as a share of the words."""
    delete: float = Field(0.1, ge=0, lt=1)
    """How likely a word is left out."""


class ClassifyConf(TuneConf):
    """Fine-tuning a classifier of labelled documents."""

    max_per_class: int | None = Field(None, ge=1)
    """Most training examples of one class, in order of id; None for all."""
    min_per_class: int = Field(20, ge=1)
    """A label with fewer training documents is left out (and counted)."""
    balance: Literal["weights", "undersample", "oversample", "none"] = "weights"
    """What is done about classes of unlike sizes, on the training side only. weights: a class counts in the loss by the
    inverse of its frequency; undersample: as many examples of each as the smallest has, drawn by the seed; oversample:
    examples of the smaller ones again, until each has as many as the largest."""
    augment: AugmentConf | None = None
    """Changed copies of the training examples, after balancing; None for none."""
    patience: int = Field(3, ge=1)
    """Stop after this many evaluations without a better loss; the best weights are kept."""
    mask_labels: bool = True
    """Hide the labels' own names in the text, so that the name cannot give the answer away."""
    masked_words: tuple[str, ...] = ()
    """Further words to hide: import names and nicknames."""
    mask: str = Field("LIB", min_length=1)
    """What stands in a hidden word's place."""


class FinetuneConf(Conf):
    """Both kinds of fine-tuning."""

    chat: ChatConf = ChatConf()
    """Conversations."""
    classify: ClassifyConf = ClassifyConf()
    """Labelled documents."""
