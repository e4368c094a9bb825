"""Attention within packed documents: SDPA with a mask, or a kind that computes nothing across documents.

varlen is torch's attention over rows of unequal length, flex is FlexAttention (Dong et al., 2024) with a mask of
blocks. Both are for GPUs, and have not been run on one yet; on CPUs it is SDPA.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from conf.schema.pretrain import PretrainRun
from tasks.core.errors import HostError
from tasks.training.network.device import Place
from tasks.training.planning.feasible import DECODERS, attention_dropout

NAMES = {"varlen": "fromzero_varlen", "flex": "fromzero_flex"}
"""What the kinds are called in transformers' registry."""
TOLERANCE = 0.05
"""How far a kind's results may be from SDPA's, in bf16, relative to the largest."""


def same_document(positions: Tensor) -> Tensor:
    """Which key each query may see: [batch, 1, seq_len, seq_len], true within a document and not ahead."""
    document = (positions == 0).cumsum(1)
    return (document[:, None, :, None] == document[:, None, None, :]).tril()


def borders(positions: Tensor) -> Tensor:
    """Where documents begin in positions [batch, seq_len] laid out in a row, and the end of all: [documents + 1]."""
    begins = positions == 0
    begins[:, 0] = True
    end = torch.full((1,), positions.numel(), device=positions.device)
    return torch.cat([begins.flatten().nonzero().flatten(), end]).int()


def within(
    q: Tensor, k: Tensor, v: Tensor, ends: Tensor, scale: float | None = None, window: int | None = None
) -> Tensor:
    """Causal attention of q, k, v [batch, heads, seq_len, size] within the borders `ends`; as q.

    Each token sees itself and `window` - 1 before it, all of its document without one.
    """
    from torch.nn.attention.varlen import varlen_attn

    batch, longest = q.shape[0], q.shape[2]
    q, k, v = (x.transpose(1, 2).flatten(0, 1) for x in (q, k, v))
    reach, grouped = (-1 if window is None else window - 1, 0), q.shape[1] != k.shape[1]
    mixed = varlen_attn(q, k, v, ends, ends, longest, longest, scale=scale, window_size=reach, enable_gqa=grouped)
    assert isinstance(mixed, Tensor)
    return mixed.view(batch, longest, *mixed.shape[1:]).transpose(1, 2)


def given(network: Any, ids: Tensor, positions: Tensor) -> dict[str, Any]:
    """What a language model is called with for ids and positions [batch, seq_len]."""
    found = {"input_ids": ids, "position_ids": positions, "use_cache": False}
    if getattr(getattr(network, "config", None), "_attn_implementation", "") == NAMES["varlen"]:
        found["cu_seq_lens_q"] = borders(positions)
    return found


def choose(network: Any, place: Place, run: PretrainRun) -> str:
    """Let a causal network use the attention that a run wants; which, in words.

    Raises `HostError` if a kind is wanted by name that cannot be used here.
    """
    wanted = run.attention
    kind = {"auto": "varlen", "sdpa": None}.get(wanted, wanted)
    why = "as asked" if kind is None else hindrance(network, place, kind)
    if kind is not None and why is None:
        use(network, kind)
        return f"attention: {kind}, nothing is computed across documents"
    if wanted not in ("auto", "sdpa"):
        raise HostError(f"pretrain.run.attention={wanted} cannot be used: {why}; set pretrain.run.attention=auto")
    return f"attention: SDPA with a mask ({why})"


def hindrance(network: Any, place: Place, kind: str) -> str | None:
    """Why the network cannot have this kind of attention here; found by trying it, None if it can.

    Deterministic training keeps the attention whose bits were compared.
    """
    config = getattr(network, "config", None)
    if place.device.type != "cuda" or place.deterministic or place.precision == torch.float32:
        return "others are for bf16 on cuda, not deterministic"
    if config is None:
        heads, pairs, size = network.conf.num_heads, network.conf.num_kv_heads, network.conf.head_size
        if kind == "flex":
            return "the native decoder has varlen"
    elif config.model_type not in DECODERS:
        return f"{config.model_type} is not known to take it"
    elif attention_dropout(config.to_dict()):
        return "it has no dropout of attention, which the model asks for"
    else:
        heads = config.num_attention_heads
        pairs = getattr(config, "num_key_value_heads", None) or heads
        size = getattr(config, "head_dim", None) or config.hidden_size // heads
    return differs(kind, place, heads // place.tensor, pairs // place.tensor, size)


def use(network: Any, kind: str) -> None:
    """Let a native decoder, or a transformers model of `DECODERS`, use this kind of attention from now on."""
    if getattr(network, "config", None) is None:
        network.model.by_borders = kind == "varlen"
        return
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import flex_attention_mask

    AttentionInterface.register(NAMES["varlen"], _varlen)
    AttentionInterface.register(NAMES["flex"], _flex)
    AttentionMaskInterface.register(NAMES["varlen"], lambda **_: None)
    AttentionMaskInterface.register(NAMES["flex"], flex_attention_mask)
    network.config._attn_implementation = NAMES[kind]


def _varlen(
    module: Any, q: Tensor, k: Tensor, v: Tensor, mask: None, scaling: float | None = None, **rest: Any
) -> tuple[Tensor, None]:
    """`within` as transformers calls it; `rest` has the borders."""
    ends, window = rest["cu_seq_lens_q"], rest.get("sliding_window")
    return within(q.type_as(v), k.type_as(v), v, ends, scaling, window).transpose(1, 2), None  # a norm can make fp32


def _flex(module: Any, q: Tensor, k: Tensor, v: Tensor, mask: Any, **rest: Any) -> tuple[Tensor, Any]:
    """transformers' FlexAttention, of one precision."""
    from transformers.integrations.flex_attention import flex_attention_forward

    found: tuple[Tensor, Any] = flex_attention_forward(module, q.type_as(v), k.type_as(v), v, mask, **rest)
    return found


def differs(kind: str, place: Place, heads: int, pairs: int, size: int) -> str | None:
    """What is wrong with this kind of attention for such heads, tried forwards and backwards beside SDPA; or None."""
    draw = torch.Generator().manual_seed(0)
    positions = torch.tensor([[*range(100), *range(28)], [*range(5, 64), *range(69)]], device=place.device)
    shapes = [(len(positions), number, positions.shape[1], size) for number in (heads, pairs, pairs)]
    drawn = (torch.randn(shape, generator=draw).to(place.device, place.precision) for shape in shapes)
    q, k, v = taken = [x.requires_grad_() for x in drawn]
    mask = same_document(positions)
    plain = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=heads != pairs)
    wanted = _with_gradients(plain, taken)
    try:
        if kind == "varlen":
            mixed = within(q, k, v, borders(positions))
        else:
            from torch.nn.attention.flex_attention import create_block_mask

            rows, _, size, _ = mask.shape
            blocks = create_block_mask(lambda row, _, i, j: mask[row, 0, i, j], rows, None, size, size, place.device)
            mixed = _flex(SimpleNamespace(training=True), q, k, v, blocks)[0].transpose(1, 2)
        found = _with_gradients(mixed, taken)
    except Exception as error:  # kernels and compilers have errors of their own, and SDPA is there
        return f"{kind} fails here: {type(error).__name__}: {error}"
    far = max(float((one - other).abs().max() / other.abs().max()) for one, other in zip(found, wanted, strict=True))
    return None if far <= TOLERANCE else f"{kind} is wrong here: {far:.2g} from SDPA"


def _with_gradients(mixed: Tensor, taken: list[Tensor]) -> list[Tensor]:
    return [part.detach().float() for part in (mixed, *torch.autograd.grad(mixed.square().sum(), taken))]
