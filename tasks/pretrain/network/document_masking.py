"""Whether a network keeps documents apart and does not look ahead: asked of itself before the first step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from conf.schema.model import ModelConf, NativeConf, NetworkConf
from tasks.core.errors import ConfigError
from tasks.formats.tokens import IGNORE
from tasks.pretrain.network.denoising import HEADS, LOSS_MODULES
from tasks.training.planning.feasible import DECODERS

PROVEN = {"causal": DECODERS | {"mixtral"}, "masked": frozenset(HEADS), "span": frozenset({"t5"})}
"""Architectures that tests have asked, for each objective."""
LENGTH = 4
"""Tokens of each of the two documents that a network is asked about."""
CLOSE = 1e-5
"""What rounding may change of a loss, as a share of it."""


def refuse_if_leaking(network: Any, conf: NetworkConf) -> None:
    """Raise `ConfigError` if a network that is not known to cannot be trained as its objective wants it.

    It is so if a forward pass fails, if what stands in one document changes the loss of another in the same sequence,
    or if a causal network (or a decoder) sees what it is to write.
    """
    if isinstance(conf, NativeConf) or conf.architecture in PROVEN[conf.resolved_objective]:
        return
    where = f"model.architecture={conf.architecture} cannot be trained with the objective {conf.resolved_objective}"
    try:
        other, ahead = leaks(network, conf)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, NotImplementedError, RuntimeError) as error:
        raise ConfigError(f"{where}: a forward pass fails: {type(error).__name__}: {error}") from error
    if other:
        raise ConfigError(f"{where}: documents in one sequence see each other; take one that keeps them apart")
    if ahead:
        raise ConfigError(f"{where}: it sees the tokens that it is to write; set model.objective to another one")


@torch.no_grad()
def leaks(network: Any, conf: ModelConf) -> tuple[bool, bool]:
    """Whether one document changes the loss of another, and whether later tokens change that of earlier ones."""
    was = network.training
    loss_module = LOSS_MODULES[conf.resolved_objective](network, False).eval()
    places = torch.arange(LENGTH).repeat(2)[None]
    document = torch.arange(2).repeat_interleave(LENGTH)[None]
    ids = torch.arange(2 * LENGTH)[None] + 2
    one, two = (document == 0), (document == 1)

    def nats(read: Tensor, written: Tensor, labelled: Tensor) -> float:
        given: Sequence[Tensor] = (
            (written, places) if conf.resolved_objective != "span" else (read, document, written, document)
        )
        return float(loss_module(*given, torch.where(labelled, ids, IGNORE))[0])

    def differ(changed: Tensor, labelled: Tensor, encoder: bool) -> bool:
        other = torch.where(changed, ids + 2 * LENGTH, ids)
        before, after = nats(ids, ids, labelled), nats(other if encoder else ids, other, labelled)
        return not abs(before - after) <= CLOSE * abs(before)

    other = differ(one, two, True) or differ(two, one, True)
    early = two & (places < LENGTH // 2)
    ahead = conf.resolved_objective != "masked" and differ(two & ~early, early, False)
    loss_module.train(was)
    return other, ahead
