"""Networks that learn from noised texts: encoders that see hidden words, and encoders with a decoder that writes spans.

transformers isolates packed documents by their positions in causal models only. Here each attention gets its own mask,
[batch, 1, queries, keys], which lets a token see its document alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tasks.formats.tokens import IGNORE
from tasks.training.network.model import LossModule, first_position

HEADS = {"bert": "cls", "roberta": "lm_head"}
"""What makes logits of an encoder's last hidden states, where it can be asked for some of them."""


def same(queries: Tensor, keys: Tensor) -> Tensor:
    """Which keys [batch, k] belong to the document of each query [batch, q]: [batch, 1, q, k]."""
    return (queries[:, :, None] == keys[:, None, :])[:, None]


class MaskedLossModule(LossModule):
    """An encoder that restores hidden words."""

    def forward(self, ids: Tensor, positions: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """ids, positions, labels [batch, seq_len] → (nats of the hidden tokens, squared normalisers), summed."""
        model = self.model
        documents = (positions == 0).cumsum(1)
        places = positions + first_position(model.config)
        given = {"input_ids": ids, "position_ids": places, "attention_mask": same(documents, documents)}
        head = HEADS.get(model.config.model_type)
        if head is None:
            return self.sums(model(**given).logits.flatten(0, 1), labels.flatten())
        hidden = labels != IGNORE
        states = model.base_model(**given).last_hidden_state
        return self.sums(getattr(model, head)(states[hidden]), labels[hidden])


class SpanLossModule(LossModule):
    """An encoder and a decoder that writes the hidden spans."""

    def forward(  # type: ignore[override]
        self, ids: Tensor, documents: Tensor, written: Tensor, targets: Tensor, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What the encoder reads and the documents of it [batch, n], what the decoder reads, the documents of it, and
        labels [batch, m] → (nats of the labels, squared normalisers), summed."""
        width = written.shape[1]
        earlier = torch.ones(width, width, dtype=torch.bool, device=written.device).tril()
        # Padding has to see something: a softmax over nothing is no number.
        across = same(targets, documents) | (targets < 0)[:, None, :, None]
        states = self.model.get_encoder()(input_ids=ids, attention_mask=same(documents, documents))
        logits = self.model(
            encoder_outputs=states,
            attention_mask=across,
            decoder_input_ids=written,
            decoder_attention_mask=same(targets, targets) & earlier,
            use_cache=False,
        ).logits
        return self.sums(logits.flatten(0, 1), labels.flatten())


LOSS_MODULES: dict[str, type[LossModule]] = {"causal": LossModule, "masked": MaskedLossModule, "span": SpanLossModule}
"""The network with its loss, for each objective."""
