"""Attention within packed documents by their borders, where a device has it: nothing is computed across documents.

On CPUs it does not exist and SDPA with a mask is used. The path by borders has not been run on a GPU yet.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tasks.pretrain.device import Place


def borders(positions: Tensor) -> Tensor:
    """Where documents begin in positions [batch, seq_len] laid out in a row, and the end of all: [documents + 1]."""
    begins = positions == 0
    begins[:, 0] = True
    end = torch.full((1,), positions.numel(), device=positions.device)
    return torch.cat([begins.flatten().nonzero().flatten(), end]).int()


def within(q: Tensor, k: Tensor, v: Tensor, ends: Tensor) -> Tensor:
    """Causal attention of q, k, v [batch, heads, seq_len, size] within the borders `ends`; as q."""
    from torch.nn.attention.varlen import varlen_attn

    batch, longest = q.shape[0], q.shape[2]
    q, k, v = (x.transpose(1, 2).flatten(0, 1) for x in (q, k, v))
    mixed = varlen_attn(q, k, v, ends, ends, longest, longest, window_size=(-1, 0), enable_gqa=q.shape[1] != k.shape[1])
    assert isinstance(mixed, Tensor)
    return mixed.view(batch, longest, *mixed.shape[1:]).transpose(1, 2)


def by_borders(place: Place, heads: int, kv_heads: int, size: int) -> tuple[bool, str]:
    """Whether `within` can be used for such heads, by trying it forwards and backwards; and why (not).

    Deterministic training keeps the attention whose bits were compared.
    """
    if place.device.type != "cuda" or place.deterministic or place.precision == torch.float32:
        return False, "for bf16 on cuda, not deterministic"
    positions = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3]], device=place.device)
    shapes = [(1, number, 8, size) for number in (heads, kv_heads, kv_heads)]
    q, k, v = (torch.ones(shape, device=place.device, dtype=place.precision, requires_grad=True) for shape in shapes)
    try:
        torch.autograd.backward(within(q, k, v, borders(positions)).sum())
    except (ImportError, RuntimeError, ValueError, NotImplementedError) as error:
        return False, f"{type(error).__name__}: {error}"
    return True, "tried"
