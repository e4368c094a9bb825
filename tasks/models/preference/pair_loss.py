"""Losses of pairs of answers: by how much the better one is to be likelier."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.finetune.examples import Arrays, Collate, Row
from tasks.formats.tokens import IGNORE
from tasks.models.preference.preference_options import PreferenceConf
from tasks.training.network.model import LossModule


class PairLoss(LossModule):
    """A causal language model, perhaps with adapters, that is taught which of two answers is better."""

    def __init__(self, network: Any, conf: PreferenceConf) -> None:
        super().__init__(network, z_loss=False)
        self.conf = conf
        self.inner = network.get_base_model() if hasattr(network, "get_base_model") else network

    def forward(self, ids: Tensor, reference: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """ids, labels [pairs, 2, width], reference [pairs, 2]: what the model said before training, in nats of whole
        answers → (sum of losses, 0); the first of two is the better one, an answer is what carries labels."""
        there = (labels != IGNORE).any(-1).any(-1)
        nats, tokens = answer_nats(self.inner, ids.flatten(0, 1), labels.flatten(0, 1), self.plain)
        chosen, rejected = nats.view(-1, 2).unbind(1)
        sizes = tokens.clamp(min=1).view(-1, 2).unbind(1)
        losses = pair_losses((chosen, rejected), sizes, reference.float().unbind(1), self.conf)
        losses = losses + self.conf.answer_weight * chosen / sizes[0]
        return losses[there].sum(), losses.new_zeros(())

    def weight(self, rows: Sequence[Any]) -> float:
        """Pairs of a batch."""
        return float((rows[-1] != IGNORE).any((-1, -2)).sum())


def answer_nats(network: Any, ids: Tensor, labels: Tensor, plain: bool) -> tuple[Tensor, Tensor]:
    """ids, labels [n, width], a label being the token that comes next → nats [n] of all labelled tokens of each, and
    their number [n]. Logits are made only where there is a label."""
    there = (labels != IGNORE).any(0).nonzero()
    width = int(there[-1]) + 1 if len(there) else 1  # no label looks to its right
    labels, given = labels[:, :width], {"input_ids": ids[:, :width], "use_cache": False}
    marked = labels != IGNORE
    if plain:
        hidden = network.base_model(**given).last_hidden_state[marked]
        logits = network.get_output_embeddings()(hidden)
    else:
        logits = network(**given).logits[marked]
    each = F.cross_entropy(logits.float(), labels[marked], reduction="none")
    rows = torch.arange(len(ids), device=ids.device)[:, None].expand_as(labels)[marked]
    return each.new_zeros(len(ids)).index_add(0, rows, each), marked.sum(1)


Two = tuple[Tensor, ...]
"""Of the better answer, and of the worse one: [pairs]."""


def pair_losses(nats: Two, tokens: Two, reference: Two, conf: PreferenceConf) -> Tensor:
    """The loss of each pair, from the nats of both whole answers, their tokens, and their nats before training."""
    beta = conf.strength
    if conf.loss == "dpo":
        return -F.logsigmoid(beta * ((reference[0] - nats[0]) - (reference[1] - nats[1])))
    means = [one / size for one, size in zip(nats, tokens, strict=True)]
    if conf.loss == "ipo":  # by token, as in the paper's own code, so that long answers do not count more
        known = [one / size for one, size in zip(reference, tokens, strict=True)]
        return ((known[0] - means[0]) - (known[1] - means[1]) - 1 / (2 * beta)).square()
    if conf.loss == "simpo":
        return -F.logsigmoid(beta * (means[1] - means[0]) - beta * conf.margin)
    odds = [-one - torch.log1p(-torch.exp(-one.clamp(min=1e-6))) for one in means]
    return means[0] - beta * F.logsigmoid(odds[0] - odds[1])


def two_answers(pad: int) -> Collate:
    """Collates pairs: ids [pairs, 2, longest], filled up on the right, reference [pairs, 2], and labels as ids, each
    the token that comes next in an answer."""

    def collate(rows: Sequence[Row]) -> Arrays:
        width = max(len(row[side]) for row in rows for side in ("input_ids", "rejected"))
        ids = np.full((len(rows), 2, width), pad, np.int64)
        labels, reference = np.full(ids.shape, IGNORE, np.int64), np.zeros((len(rows), 2), np.float32)
        for number, row in enumerate(rows):
            reference[number] = row["reference"], row["rejected_reference"]
            for side, name in enumerate(("input_ids", "rejected")):
                size, begin = len(row[name]), row["begin"]
                ids[number, side, :size] = row[name]
                labels[number, side, begin - 1 : size - 1] = row[name][begin:]
        return ids, reference, labels

    return collate
