"""Which weights of a model are tuned."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from conf.schema.base import Conf


class FullMethod(Conf):
    """All weights are trained, or those of the upper layers."""

    kind: Literal["full"]
    """Always full."""
    frozen_layers: int = Field(0, ge=0)
    """So many layers, counted from the input, stay as they are, and with them the embeddings; 0: all is trained."""
    layer_decay: float = Field(1.0, gt=0, le=1)
    """Each layer's learning rate as a share of that of the one above it, the embeddings below all of them (Howard and
    Ruder 2018; 0.65 to 0.9 are usual); 1: one rate."""


class AdapterMethod(Conf):
    """Low-rank adapters of all linear layers, merged into the weights at the end."""

    kind: Literal["lora", "dora", "rslora"]
    """lora: Hu et al. 2021; dora: with magnitudes of their own (Liu et al. 2024); rslora: scaled by alpha / √rank
    (Kalajdzievski 2023), for high ranks."""
    rank: int = Field(16, ge=1)
    """Rank of the update of each linear layer."""
    alpha: int = Field(32, ge=1)
    """Scale of the update; the factor is alpha / rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout on the adapters' input."""
    train_special_tokens: bool = True
    """Also train the embeddings of the special tokens, which pretraining has not met; of models that answer."""


class HeadMethod(Conf):
    """The new head alone is trained, on what the model makes of a text."""

    kind: Literal["head"]
    """Always head."""


METHODS: dict[str, type[Conf]] = {
    kind: method
    for method in (FullMethod, AdapterMethod, HeadMethod)
    for kind in get_args(method.model_fields["kind"].annotation)
}
"""The options of each method, by its kind."""
