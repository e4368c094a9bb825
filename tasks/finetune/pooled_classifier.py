"""A classifier on what a network makes of all tokens of a text, where transformers' own heads read a single one.

Stands alone: `save_pretrained` puts this file beside the weights, so that the folder loads wherever transformers is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class PooledClassifierConfig(PretrainedConfig):  # type: ignore[no-untyped-call]
    """The body's config (of transformers, or of one in `SMALL`), how its states become one, and which runs of tokens
    are looked at beside them: `ngrams` is their greatest length (0: none), `buckets` how many of each length are told
    apart. Of one that says a number `scale` and `shift` are the spread and the mean of those that it was trained on."""

    model_type = "pooled_classifier"

    def __init__(
        self,
        body: dict[str, Any] | None = None,
        pooling: str = "mean",
        ngrams: int = 0,
        buckets: int = 0,
        scale: float = 1.0,
        shift: float = 0.0,
        **more: Any,
    ) -> None:
        self.body, self.pooling = dict(body or {}), pooling
        self.ngrams, self.buckets = ngrams, buckets
        self.scale, self.shift = scale, shift
        self.max_position_embeddings = self.body.get("max_position_embeddings")
        super().__init__(**more)


def mean(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(batch, width): over the tokens that are not padding."""
    return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1)


def largest(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(batch, width): of each dimension the largest value over the tokens that are not padding."""
    return states.masked_fill(mask[..., None] == 0, torch.finfo(states.dtype).min).amax(1)


def at(states: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """(batch, width): the states at one place of each row."""
    return states[torch.arange(len(states), device=states.device), place]


POOLING: dict[str, tuple[Callable[[torch.Tensor, torch.Tensor], torch.Tensor], ...]] = {
    "mean": (mean,),
    "mean_max": (mean, largest),
    "first": (lambda states, mask: at(states, mask.argmax(1)),),
    "last": (lambda states, mask: at(states, (mask * torch.arange(mask.shape[1], device=mask.device)).argmax(1)),),
}
"""What is made of the states (batch, tokens, width) and the mask (batch, tokens), 1 for text; results are joined."""


class Ngrams(torch.nn.Module):
    """A linear classifier of hashed n-grams of tokens (Joulin et al. 2016, Bag of Tricks for Efficient Text
    Classification), which a small network learns to see late; beside a body as in Cheng et al. 2016, Wide & Deep."""

    SCALE = 10.0
    """How much a weight counts: with it all take part at a learning rate that suits the body."""

    def __init__(self, ngrams: int, buckets: int, vocabulary: int, labels: int) -> None:
        super().__init__()
        sizes = [min(vocabulary, buckets), *[buckets] * (ngrams - 1)]
        self.tables = torch.nn.ParameterList(torch.nn.Parameter(torch.zeros(size, labels)) for size in sizes)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Logits (batch, labels) of ids (batch, tokens) and a mask of 1 for text, 0 for padding."""
        hashed, seen, found = ids, mask, []
        for length, table in enumerate(self.tables, 1):
            if length > 1:
                hashed = hashed[:, :-1] * 1_000_003 + ids[:, length - 1 :] * 31
                seen = seen[:, :-1] * mask[:, length - 1 :]
            weights = torch.nn.functional.embedding(hashed % len(table), table)
            found.append((weights * seen[..., None]).sum(1))
        return self.SCALE * torch.stack(found).sum(0) / mask.sum(1, keepdim=True).clamp(min=1).sqrt()


class Lstm(torch.nn.Module):
    """States of tokens by recurrence (Hochreiter and Schmidhuber 1997), from both sides if wanted."""

    def __init__(self, vocab_size: int, width: int, hidden_size: int, layers: int, both: bool, dropout: float) -> None:
        super().__init__()
        self.embeddings, self.dropout = torch.nn.Embedding(vocab_size, width), torch.nn.Dropout(dropout)
        size = hidden_size // 2 if both else hidden_size
        between = dropout if layers > 1 else 0.0
        self.cells = torch.nn.LSTM(width, size, layers, batch_first=True, bidirectional=both, dropout=between)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """ids, mask (batch, tokens), filled up on the right → states (batch, tokens, hidden_size)."""
        seen = self.dropout(self.embeddings(ids))
        sizes = mask.sum(1).clamp(min=1).cpu()  # so that from the right the text is read first, not what fills up
        packed = torch.nn.utils.rnn.pack_padded_sequence(seen, sizes, batch_first=True, enforce_sorted=False)
        said, _ = torch.nn.utils.rnn.pad_packed_sequence(self.cells(packed)[0], True, total_length=ids.shape[1])
        states: torch.Tensor = self.dropout(said)
        return states


class Cnn(torch.nn.Module):
    """States of tokens by convolutions over runs of some lengths (Kim 2014)."""

    def __init__(self, vocab_size: int, width: int, hidden_size: int, sizes: list[int], dropout: float) -> None:
        super().__init__()
        self.embeddings, self.dropout = torch.nn.Embedding(vocab_size, width), torch.nn.Dropout(dropout)
        own, self.around = (
            hidden_size // len(sizes),
            [((size - 1) - (size - 1) // 2, (size - 1) // 2) for size in sizes],
        )
        self.runs = torch.nn.ModuleList(torch.nn.Conv1d(width, own, size) for size in sizes)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """ids, mask (batch, tokens) → states (batch, tokens, hidden_size)."""
        seen = (self.embeddings(ids) * mask[..., None]).transpose(1, 2)
        padded = [torch.nn.functional.pad(seen, around) for around in self.around]
        found = [torch.relu(run(one)) for run, one in zip(self.runs, padded, strict=True)]
        said = torch.cat(found, dim=1).transpose(1, 2)
        states: torch.Tensor = self.dropout(said)
        return states


SMALL: dict[str, Callable[..., torch.nn.Module]] = {"lstm": Lstm, "cnn": Cnn}
"""Bodies that transformers does not have, by the model_type in `PooledClassifierConfig.body`."""


class PooledClassifier(PreTrainedModel):  # type: ignore[no-untyped-call]
    """A body, its states pooled, a linear head; n-grams of tokens beside it."""

    config_class = PooledClassifierConfig
    base_model_prefix = "body"
    _supports_sdpa = True

    def __init__(self, config: PooledClassifierConfig) -> None:
        super().__init__(config)
        labels, given = int(config.num_labels or 0), dict(config.body)
        self.small = given.get("model_type") in SMALL
        if self.small:
            self.body = SMALL[given.pop("model_type")](**given)
            size, vocabulary = given["hidden_size"], given["vocab_size"]
        else:
            body = AutoConfig.for_model(**given)
            self.body = AutoModel.from_config(body)  # type: ignore[no-untyped-call]
            size, vocabulary = body.hidden_size, body.vocab_size
        self.head = torch.nn.Linear(len(POOLING[config.pooling]) * size, labels)
        self.wide = Ngrams(config.ngrams, config.buckets, vocabulary, labels) if config.ngrams else None
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        **more: Any,
    ) -> SequenceClassifierOutput:
        """Logits (batch, labels). Without a mask every token is text."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        if self.small:
            states = self.body(input_ids, mask)
        else:
            states = self.body(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
        pooled = [pool(states, mask.to(states.dtype)) for pool in POOLING[self.config.pooling]]
        logits = self.head(torch.cat(pooled, dim=-1))
        if self.wide is not None:
            logits = logits + self.wide(input_ids, mask.to(states.dtype))
        logits = logits * self.config.scale + self.config.shift
        loss = None if labels is None else torch.nn.functional.cross_entropy(logits.float(), labels)
        return SequenceClassifierOutput(loss=loss, logits=logits)


AutoConfig.register(PooledClassifierConfig.model_type, PooledClassifierConfig, exist_ok=True)
AutoModelForSequenceClassification.register(PooledClassifierConfig, PooledClassifier, exist_ok=True)
PooledClassifierConfig.register_for_auto_class()  # type: ignore[no-untyped-call]
PooledClassifier.register_for_auto_class("AutoModelForSequenceClassification")  # type: ignore[no-untyped-call]
