"""The loss of a language model that is tuned on some tokens of its examples, such as answers."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.formats.tokens import IGNORE
from tasks.training.network.model import LossModule


class AnswerLoss(LossModule):
    """A causal language model, perhaps with adapters, that makes logits only where there is a label."""

    def __init__(self, network: Any) -> None:
        super().__init__(network, z_loss=False)
        self.inner = network.get_base_model() if hasattr(network, "get_base_model") else network

    def forward(self, ids: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """ids, labels [examples, width] → (sum of nats over labelled places, 0)."""
        there = (labels != IGNORE).any(0).nonzero()
        width = int(there[-1]) + 1 if len(there) else 1  # no label looks to its right
        labels = labels[:, :width]
        chosen, given = labels != IGNORE, {"input_ids": ids[:, :width], "use_cache": False}
        if self.plain:
            hidden = self.inner.base_model(**given).last_hidden_state[chosen]
            logits = self.inner.get_output_embeddings()(hidden)
        else:
            logits = self.inner(**given).logits[chosen]
        nats = F.cross_entropy(logits.float(), labels[chosen], reduction="sum")
        return nats, torch.zeros((), device=nats.device)
