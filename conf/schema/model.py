"""Which network is trained, and to do what."""

from __future__ import annotations

import math
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from conf.schema.base import Conf

Objective = Literal["causal", "masked", "span"]
DENOISERS: dict[str, Objective] = {"bert": "masked", "roberta": "masked", "t5": "span"}
"""Architectures that are trained on noised texts unless an objective is given."""


class NoiseConf(Conf):
    """What is hidden from a model that learns to restore it; of the objectives masked and span."""

    share: float = Field(0.15, gt=0, lt=1)
    """Share of the words (masked) or of the tokens (span) that are hidden."""
    masked: float = Field(0.8, ge=0, le=1)
    """Share of the hidden tokens that tokenizer.mask_token stands for; of masked only."""
    random: float = Field(0.1, ge=0, le=1)
    """Share of the hidden tokens that a random one stands for; what is left of them is shown as it is; of masked
    only."""
    span: float = Field(3.0, ge=1)
    """Mean length of a hidden span, in tokens; of span only."""

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.masked + self.random > 1:
            raise ValueError(f"masked={self.masked} and random={self.random} add up to more than 1: lower one of them")
        return self

    def most_spans(self, seq_len: int) -> int:
        """The most hidden spans that a document within `seq_len` tokens can have."""
        return max(1, math.ceil((seq_len * self.share + 1) / self.span))


class ModelConf(Conf):
    """Any language model that transformers knows, built from its config with new weights."""

    kind: Literal["transformers"] = "transformers"
    """Always transformers."""
    architecture: str = Field("llama", min_length=1)
    """transformers' model_type, for instance llama, qwen3, gpt2, mixtral, bert, roberta or t5."""
    config: dict[str, int | float | bool | str | None] = Field(default_factory=dict)
    """Fields of the architecture's config (hidden_size, num_hidden_layers, …); the vocabulary is the tokenizer's."""
    tie_embeddings: bool = True
    """Use one matrix for the token embedding and the output layer. Encoders always do. So does t5; false leaves out, as
    T5 1.1 does, the scaling of its output."""
    objective: Objective | None = None
    """causal: the next token. masked: hidden words, whole, from both sides (Devlin et al. 2019). span: an encoder reads
    the text with spans hidden, a decoder writes them (Raffel et al. 2020). None: masked for bert and roberta, span for
    t5, causal for all others."""
    noise: NoiseConf = NoiseConf()
    """What is hidden, in the objectives masked and span."""
    later: ClassVar[frozenset[str]] = frozenset({"objective", "noise"})

    @model_validator(mode="after")
    def _encoders_are_tied(self) -> Self:
        # transformers leaves a bias without use where they are not, for which gradients would be waited in vain.
        if self.aim == "masked" and not self.tie_embeddings:
            raise ValueError("tie_embeddings=false is not for encoders that restore hidden words: leave it true")
        return self

    @property
    def aim(self) -> Objective:
        """The objective, told from the architecture where none is given."""
        return self.objective or DENOISERS.get(self.architecture, "causal")
