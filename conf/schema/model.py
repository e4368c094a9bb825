"""Which network is trained, and to do what."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from conf.schema.base import Conf

Objective = Literal["causal", "masked", "span"]
DENOISERS: dict[str, Objective] = {"bert": "masked", "roberta": "masked", "t5": "span"}
"""Architectures that are trained on noised texts unless an objective is given."""
ASPECT = 64
"""Width for each layer of depth (as GPT-2, and nanochat); the loss hardly depends on it (Kaplan et al., 2020)."""
HEAD_SIZE = 64
"""Width of an attention head where nothing else is said (as GPT-2, Llama 3.2 1B)."""
INNER = 8 / 3
"""Width of the feed-forward part for each unit of width: SwiGLU's three matrices are then as large as the two of a
plain one of four times the width (Shazeer, 2020)."""


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
        if self.resolved_objective == "masked" and not self.tie_embeddings:
            raise ValueError("tie_embeddings=false is not for encoders that restore hidden words: leave it true")
        return self

    @property
    def resolved_objective(self) -> Objective:
        """The objective, told from the architecture where none is given."""
        return self.objective or DENOISERS.get(self.architecture, "causal")

    @property
    def positions(self) -> int | None:
        """Tokens that the network looks at; None where the config leaves it to the architecture."""
        found = self.config.get("max_position_embeddings")
        return found if isinstance(found, int) else None


class NativeConf(Conf):
    """A decoder of our own (RoPE, RMSNorm, SwiGLU); it is stored as transformers' llama, or qwen3 with QK-norm.

    `depth` sets all sizes; each can be given itself, and those that follow from it follow.
    """

    kind: Literal["native"] = "native"
    """Always native."""
    depth: int = Field(gt=0)
    """Number of layers."""
    width: int = Field(default_factory=lambda given: ASPECT * given["depth"], gt=0)
    """Size of a token's vector between layers; 64 for each layer unless given."""
    num_heads: int = Field(default_factory=lambda given: max(1, given["width"] // HEAD_SIZE), gt=0)
    """Attention heads, a divisor of width; one for each 64 of width unless given."""
    num_kv_heads: int = Field(default_factory=lambda given: given["num_heads"], gt=0)
    """Heads of keys and values, a divisor of num_heads; fewer is grouped-query attention. All heads unless given."""
    head_size: int = Field(default_factory=lambda given: given["width"] // given["num_heads"], gt=0, multiple_of=2)
    """Width of a head; width / num_heads unless given."""
    intermediate_size: int = Field(default_factory=lambda given: -(-int(INNER * given["width"]) // 64) * 64, gt=0)
    """Width inside the feed-forward part; 8/3 of width, rounded up to a multiple of 64, unless given."""
    qk_norm: bool = False
    """Normalise queries and keys in each head, which bears higher learning rates (Dehghani et al., 2023)."""
    tie_embeddings: bool = True
    """Use one matrix for the token embedding and the output layer."""
    rope_theta: float = Field(10_000.0, gt=0)
    """Base of the rotary positions' wavelengths; larger for longer sequences."""
    max_positions: int = Field(4096, ge=2)
    """Longest sequence that the stored model promises to take, in tokens; no segment's seq_len may be larger."""
    norm_eps: float = Field(1e-5, gt=0)
    """Added to the mean square in RMSNorm."""
    init_std: float = Field(0.02, gt=0)
    """Standard deviation of new weights; divided by sqrt(2 depth) in the two matrices of a layer that write to its
    output (Radford et al., GPT-2, 2019)."""
    formerly: ClassVar[Mapping[str, str]] = {
        "num_heads": "heads",
        "num_kv_heads": "kv_heads",
        "intermediate_size": "inner",
    }

    @model_validator(mode="after")
    def _divides(self) -> Self:
        if self.width % self.num_heads:
            raise ValueError(f"width={self.width} is not a multiple of num_heads={self.num_heads}: change one of them")
        if self.num_heads % self.num_kv_heads:
            raise ValueError(
                f"num_heads={self.num_heads} is not a multiple of num_kv_heads={self.num_kv_heads}: change one of them"
            )
        return self

    @property
    def resolved_objective(self) -> Objective:
        """Always causal."""
        return "causal"

    @property
    def positions(self) -> int:
        """Tokens that the network looks at."""
        return self.max_positions

    def in_transformers(self) -> ModelConf:
        """The same network as transformers has it."""
        config: dict[str, Any] = {
            "hidden_size": self.width,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.depth,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_kv_heads,
            "head_dim": self.head_size,
            "max_position_embeddings": self.max_positions,
            "rope_theta": self.rope_theta,
            "rms_norm_eps": self.norm_eps,
            "initializer_range": self.init_std,
        }
        return ModelConf(
            architecture="qwen3" if self.qk_norm else "llama", config=config, tie_embeddings=self.tie_embeddings
        )


NetworkConf = Annotated[ModelConf | NativeConf, Field(discriminator="kind")]
