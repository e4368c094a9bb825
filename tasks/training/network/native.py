"""A small decoder of our own: rotary positions, RMSNorm, SwiGLU, grouped-query attention, QK-norm as an option.

Its weights have the names and shapes of transformers' llama (qwen3 with QK-norm), so that storing it is renaming
nothing, and transformers computes the same logits from them. It answers what `LossModule` asks of a transformers model.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conf.schema.model import NativeConf
from tasks.training.network import attention


class Hidden(NamedTuple):
    """What the decoder without its output layer returns."""

    last_hidden_state: Tensor
    """[batch, seq_len, width]"""


class Logits(NamedTuple):
    """What the whole network returns."""

    logits: Tensor
    """[batch, seq_len, vocabulary]"""


class Norm(nn.RMSNorm):
    """RMSNorm (Zhang and Sennrich, 2019) in the precision of its weight, which autocast leaves alone."""

    def forward(self, x: Tensor) -> Tensor:
        """x [..., size] → the same."""
        return super().forward(x.type_as(self.weight))


class Attention(nn.Module):
    """Causal attention within documents."""

    def __init__(self, conf: NativeConf) -> None:
        super().__init__()
        self.size, self.grouped = conf.head_size, conf.num_heads != conf.num_kv_heads
        self.q_proj = nn.Linear(conf.width, conf.num_heads * conf.head_size, bias=False)
        self.k_proj = nn.Linear(conf.width, conf.num_kv_heads * conf.head_size, bias=False)
        self.v_proj = nn.Linear(conf.width, conf.num_kv_heads * conf.head_size, bias=False)
        self.o_proj = nn.Linear(conf.num_heads * conf.head_size, conf.width, bias=False)
        self.q_norm = Norm(conf.head_size, conf.norm_eps) if conf.qk_norm else nn.Identity()
        self.k_norm = Norm(conf.head_size, conf.norm_eps) if conf.qk_norm else nn.Identity()

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        """x [batch, seq_len, width] → the same; cos and sin [batch, 1, seq_len, head_size]; mask: see `Decoder`."""
        q, k, v = (project(x).unflatten(-1, (-1, self.size)) for project in (self.q_proj, self.k_proj, self.v_proj))
        q, k, v = self.q_norm(q).transpose(1, 2), self.k_norm(k).transpose(1, 2), v.transpose(1, 2)
        q, k = rotate(q, cos, sin).type_as(v), rotate(k, cos, sin).type_as(v)
        if mask is not None and mask.ndim == 1:
            mixed = attention.within(q, k, v, mask)
        else:
            mixed = F.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=self.grouped
            )
        out: Tensor = self.o_proj(mixed.transpose(1, 2).flatten(2))
        return out


class Mlp(nn.Module):
    """SwiGLU (Shazeer, 2020)."""

    def __init__(self, conf: NativeConf) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(conf.width, conf.intermediate_size, bias=False)
        self.up_proj = nn.Linear(conf.width, conf.intermediate_size, bias=False)
        self.down_proj = nn.Linear(conf.intermediate_size, conf.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x [batch, seq_len, width] → the same."""
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Block(nn.Module):
    """One layer: attention and feed-forward, each on a normalised copy and added to its input."""

    def __init__(self, conf: NativeConf) -> None:
        super().__init__()
        self.input_layernorm = Norm(conf.width, conf.norm_eps)
        self.self_attn = Attention(conf)
        self.post_attention_layernorm = Norm(conf.width, conf.norm_eps)
        self.mlp = Mlp(conf)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None) -> Tensor:
        """x [batch, seq_len, width] → the same."""
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Decoder(nn.Module):
    """The network without its output layer."""

    def __init__(self, conf: NativeConf, vocab_size: int) -> None:
        super().__init__()
        self.size, self.theta = conf.head_size, conf.rope_theta
        self.embed_tokens = nn.Embedding(vocab_size, conf.width)
        self.layers = nn.ModuleList(Block(conf) for _ in range(conf.depth))
        self.norm = Norm(conf.width, conf.norm_eps)
        self.by_borders = False
        """Whether blocks get the borders of documents (see `attention`) in place of a mask; SDPA with a mask if not."""

    def forward(self, input_ids: Tensor, position_ids: Tensor, use_cache: bool = False) -> Hidden:
        """ids and positions [batch, seq_len]; a document begins where the position is 0, and sees only itself."""
        cos, sin = rotation(position_ids, self.size, self.theta)
        separate = attention.borders if self.by_borders else attention.same_document
        mask = separate(position_ids) if bool((position_ids[:, 1:] == 0).any()) else None
        x = self.embed_tokens(input_ids)
        for block in self.layers:
            x = block(x, cos, sin, mask)
        return Hidden(self.norm(x))


class Native(nn.Module):
    """The whole network; tied embeddings are one matrix, which has the embedding's name only."""

    def __init__(self, conf: NativeConf, vocab_size: int, eos_id: int) -> None:
        super().__init__()
        self.conf, self.vocab_size, self.eos_id = conf, vocab_size, eos_id
        self.model = Decoder(conf, vocab_size)
        self.lm_head = None if conf.tie_embeddings else nn.Linear(conf.width, vocab_size, bias=False)

    @property
    def base_model(self) -> Decoder:
        """The network without its output layer."""
        return self.model

    def get_output_embeddings(self) -> nn.Embedding | nn.Linear:
        """The module whose weight [vocabulary, width] the logits are made with."""
        return self.lm_head or self.model.embed_tokens

    def forward(self, input_ids: Tensor, position_ids: Tensor, use_cache: bool = False) -> Logits:
        """ids and positions [batch, seq_len] → logits."""
        hidden = self.model(input_ids, position_ids).last_hidden_state
        return Logits(F.linear(hidden, self.get_output_embeddings().weight))

    @torch.no_grad()
    def draw(self, seed: int) -> None:
        """Draw all weights anew from `seed`."""
        torch.manual_seed(seed)
        last = self.conf.init_std / math.sqrt(2 * self.conf.depth)
        for name, parameter in self.named_parameters():
            if parameter.ndim < 2:
                parameter.fill_(1.0)
            else:
                writes = name.endswith(("o_proj.weight", "down_proj.weight"))
                parameter.normal_(0.0, last if writes else self.conf.init_std)


def rotation(positions: Tensor, size: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines [batch, 1, seq_len, size] of rotary positions (Su et al., 2021), in fp32."""
    frequencies = 1.0 / theta ** (torch.arange(0, size, 2, device=positions.device).float() / size)
    angles = (positions[:, None, :, None].float() * frequencies).repeat(1, 1, 1, 2)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [batch, heads, seq_len, size] turned by its position; the halves of a head are the two coordinates."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def build(conf: NativeConf, vocab_size: int, eos_id: int, seed: int) -> Native:
    """A new network in fp32, its weights drawn from `seed`."""
    with torch.device("meta"):
        network = Native(conf, vocab_size, eos_id)
    network.to_empty(device="cpu")
    network.draw(seed)
    return network
