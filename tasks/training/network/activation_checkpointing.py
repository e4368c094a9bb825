"""Activation checkpointing (Chen et al. 2016): layers whose insides the backward pass computes again."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
import torch._functorch.config
import torch.nn.attention.varlen
from torch import nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

_aten = torch.ops.aten
KEPT = frozenset(
    {
        *(_aten.mm.default, _aten.addmm.default, _aten.bmm.default, _aten.baddbmm.default),
        _aten._scaled_dot_product_flash_attention.default,
        _aten._scaled_dot_product_flash_attention_for_cpu.default,
        _aten._scaled_dot_product_efficient_attention.default,
        _aten._scaled_dot_product_cudnn_attention.default,
        _aten._scaled_dot_product_attention_math.default,
        torch.ops.torch_attn._varlen_attn.default,
    }
)
"""What `selective` keeps: the operations that take long to do again."""


def install(blocks: Iterable[nn.Module], mode: str, budget: float) -> None:
    """Let the backward pass of each block compute again what `mode` (none, selective, full) says; dropout included.

    With the mode budget the compiler chooses for each what is cheapest to do again, so that this share is kept (a
    knapsack; PyTorch's blog, "Current and new activation checkpointing techniques", 2025).
    """
    torch._functorch.config.activation_memory_budget = budget if mode == "budget" else 1.0
    if mode in ("none", "budget"):
        return
    options: dict[str, Any] = {"use_reentrant": False}
    if mode == "selective":
        options["context_fn"] = partial(create_selective_checkpoint_contexts, _keep)
    for block in blocks:
        block.forward = partial(checkpoint, block.forward, **options)


def _keep(context: Any, operation: Any, *_: Any, **__: Any) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE if operation in KEPT else CheckpointPolicy.PREFER_RECOMPUTE
