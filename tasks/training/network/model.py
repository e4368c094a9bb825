"""The network with its loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from conf.schema.model import ModelConf, NativeConf, NetworkConf
from tasks.core.errors import ConfigError
from tasks.formats.tokens import IGNORE
from tasks.training.network import attention, native
from tasks.training.planning.feasible import DECODERS

CLASSES = {"causal": "AutoModelForCausalLM", "masked": "AutoModelForMaskedLM", "span": "AutoModelForSeq2SeqLM"}
"""transformers' class for each objective."""
AFTER_PADDING = frozenset(
    {"roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "roberta-prelayernorm", "mpnet", "esm"}
)
"""Architectures whose positions begin after the id of the token that fills up."""


def first_position(config: Any) -> int:
    """The position of a document's first token."""
    return config.pad_token_id + 1 if config.model_type in AFTER_PADDING else 0


def build(conf: NetworkConf, vocab_size: int, eos_id: int, seq_len: int, seed: int, pad_id: int | None = None) -> Any:
    """A new language model for the objective of `conf` in fp32, its weights drawn from `seed`.

    A decoder that is not all of the model begins to write with `pad_id`. Raises `ConfigError` when transformers does
    not know the architecture or refuses its config.
    """
    if isinstance(conf, NativeConf):
        return native.build(conf, vocab_size, eos_id, seed)
    import transformers

    try:
        config = config_of(conf, vocab_size, eos_id, pad_id)
        longest, first = getattr(config, "max_position_embeddings", None), first_position(config)
        if longest is not None and longest < seq_len + first:
            begin = f", whose positions begin at {first}" if first else ""
            raise ValueError(f"max_position_embeddings={longest} is less than the segment's seq_len={seq_len}{begin}")
        if getattr(config, "output_router_logits", False):
            raise ValueError("output_router_logits: the balance of experts is no part of the loss here, leave it out")
        torch.manual_seed(seed)
        create: Any = getattr(transformers, CLASSES[conf.resolved_objective]).from_config
        return create(config, dtype=torch.float32, attn_implementation="sdpa")
    except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError, RuntimeError) as error:
        raise ConfigError(f"model: no {conf.architecture!r} can be built from {conf.config}: {error}") from error


def config_of(conf: ModelConf, vocab_size: int, eos_id: int, pad_id: int | None = None) -> Any:
    """transformers' config of a network; raises what transformers raises for one that it refuses."""
    from transformers import AutoConfig

    given = {
        "bos_token_id": eos_id,
        "eos_token_id": eos_id,
        "pad_token_id": pad_id,
        "tie_word_embeddings": conf.tie_embeddings,
        **({"decoder_start_token_id": pad_id} if conf.resolved_objective == "span" else {}),
        **conf.config,
        "vocab_size": vocab_size,
    }
    return AutoConfig.for_model(conf.architecture, **given)


def stored_as(network: Any) -> Any:
    """The transformers model whose directory a network is stored as: itself, or a native one's twin without weights."""
    if not isinstance(network, native.Native):
        return network
    from transformers import AutoModelForCausalLM

    config = config_of(network.conf.in_transformers(), network.vocab_size, network.eos_id)
    create: Any = AutoModelForCausalLM.from_config
    with torch.device("meta"):
        return create(config, dtype=torch.float32)


def has_plain_head(network: Any) -> bool:
    """Whether the logits are the last hidden state times the output matrix, and nothing else."""
    return isinstance(network, native.Native) or network.config.model_type in DECODERS


class LossModule(nn.Module):
    """A causal language model that returns sums of losses, so that shares of a batch add up exactly."""

    def __init__(self, model: Any, z_loss: bool, smoothing: float = 0.0) -> None:
        super().__init__()
        self.model = model
        self.z_loss, self.smoothing = z_loss, smoothing
        self.plain = has_plain_head(model) and not z_loss
        self.rates: Mapping[str, float] = {}
        """Shares of the learning rate by the names of parameters; 1 where none is given."""

    def forward(self, ids: Tensor, positions: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """ids, positions, labels [batch, seq_len] → (sum of nats over labelled positions, sum of squared normalisers).

        Documents do not see each other: transformers finds their borders where the positions restart.
        """
        targets, given = labels.flatten(), attention.given(self.model, ids, positions)
        if self.plain:
            hidden = self.model.base_model(**given).last_hidden_state
            flat = hidden.flatten(0, 1)
            head = self.model.get_output_embeddings()
            options = torch.nn.LinearCrossEntropyOptions() if flat.is_cuda and self.training else None
            nats = F.linear_cross_entropy(flat, head.weight.to(flat.dtype), targets, options=options, **self._shape)
            return nats.float(), nats.new_zeros(())
        return self.sums(self.model(**given).logits.flatten(0, 1), targets)

    def following(self, ids: Tensor, positions: Tensor, last: Tensor) -> Tensor:
        """ids, positions [batch, seq_len], last [batch] → logits [batch, tokens] of what comes after place `last`."""
        given, rows = attention.given(self.model, ids, positions), torch.arange(len(last))
        if not has_plain_head(self.model):
            found: Tensor = self.model(**given).logits[rows, last]
            return found.float()
        hidden = self.model.base_model(**given).last_hidden_state[rows, last]
        return F.linear(hidden, self.model.get_output_embeddings().weight.to(hidden.dtype)).float()

    def weight(self, rows: Sequence[npt.NDArray[Any]]) -> float:
        """What the sums of a batch are divided by: its labels."""
        return float((rows[-1] != IGNORE).sum())

    @property
    def _shape(self) -> dict[str, Any]:
        """The options of the loss."""
        smoothing = self.smoothing if self.training else 0.0
        return {"reduction": "sum", "ignore_index": IGNORE, "label_smoothing": smoothing}

    def sums(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """logits [n, tokens], targets [n] → (sum of nats, sum of squared normalisers) over labelled places."""
        logits = logits.float()
        nats = F.cross_entropy(logits, targets, **self._shape)
        normaliser = logits.logsumexp(1)[targets != IGNORE].square().sum() if self.z_loss else nats.new_zeros(())
        return nats, normaliser


def blocks(model: Any) -> nn.ModuleList:
    """The list of a transformer's layers: its longest ModuleList; empty if it has none.

    Of an encoder with a decoder those of both, each the outermost list of its half.
    """
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        halves = (model.get_encoder(), model.get_decoder())
        outermost = (next((m for m in half.modules() if isinstance(m, nn.ModuleList)), ()) for half in halves)
        return nn.ModuleList([block for found in outermost for block in found])
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    return max(lists, key=len, default=nn.ModuleList())


def looked_up(loss_module: LossModule) -> list[nn.Parameter]:
    """The matrices of the embeddings and of the output layer."""
    tables = [module for module in loss_module.modules() if isinstance(module, nn.Embedding)]
    return [
        parameter for part in (*tables, loss_module.model.get_output_embeddings()) for parameter in part.parameters()
    ]


def parameters(loss_module: LossModule) -> dict[str, nn.Parameter]:
    """The network's parameters that are trained by name, tied ones once."""
    return {name: one for name, one in loss_module.model.named_parameters() if one.requires_grad}


def buffers(loss_module: LossModule) -> dict[str, Tensor]:
    """The buffers that belong to the weights (those that a state dict holds)."""
    named = dict(loss_module.model.named_parameters(remove_duplicate=False))
    return {name: value for name, value in loss_module.model.state_dict().items() if name not in named}
