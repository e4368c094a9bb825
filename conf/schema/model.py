"""Which network is trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from conf.schema.base import Conf


class ModelConf(Conf):
    """Any causal language model that transformers knows, built from its config with new weights."""

    kind: Literal["transformers"] = "transformers"
    """Always transformers."""
    architecture: str = Field("llama", min_length=1)
    """transformers' model_type, for instance llama, qwen3 or gpt2."""
    config: dict[str, int | float | bool | str | None] = Field(default_factory=dict)
    """Fields of the architecture's config (hidden_size, num_hidden_layers, …); the vocabulary is the tokenizer's."""
    tie_embeddings: bool = True
    """Use one matrix for the token embedding and the output layer."""
