"""Spans of documents: those that are there, those that a dictionary finds, and how well some fit others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import polars as pl

from tasks.evaluate.bootstrap import Floats, with_interval
from tasks.evaluate.metric import ItemMetric
from tasks.formats.documents import with_targets
from tasks.models.token_classification import span_metrics
from tasks.models.token_classification.span_options import SpanEval
from tasks.models.token_classification.tagging import Span
from tasks.text import targets


def tagged(table: pl.LazyFrame) -> tuple[list[tuple[str, str, list[Span]]], int]:
    """(id, text, spans) of the documents of which spans are known (perhaps none), in order of id, and how many spans
    are left out because they overlap with one before."""
    rows = with_targets(table).rows()
    found, left_out = [], 0
    for id_, text, stored in rows:
        held = targets.read(stored).get("spans")
        if held is None:
            continue
        kept: list[Span] = []
        for begin, end, label in held:
            if kept and begin < kept[-1][1]:
                left_out += 1
            else:
                kept.append((begin, end, label))
        found.append((id_, text, kept))
    return found, left_out


class Dictionary:
    """Every span of some texts, found again wherever its words stand (the baseline of CoNLL-2003: Tjong Kim Sang and
    De Meulder 2003), with the label that it has most often; the longest one first."""

    def __init__(self, documents: Sequence[tuple[str, Sequence[Span]]]) -> None:
        seen = Counter((text[begin:end], label) for text, spans in documents for begin, end, label in spans)
        self._labels = {said: label for (said, label), _ in sorted(seen.items(), key=lambda one: (one[1], one[0]))}
        self._lengths = sorted({len(said) for said in self._labels}, reverse=True)

    def find(self, text: str) -> list[Span]:
        """The spans of a text."""
        found, at = [], 0
        while at < len(text):
            ends = (at + length for length in self._lengths if at + length <= len(text))
            whole = (end for end in ends if text[at:end] in self._labels and _border(text, at) and _border(text, end))
            end = next(whole, None)
            if end is None:
                at += 1
            else:
                found.append((at, end, self._labels[text[at:end]]))
                at = end
        return found


def _border(text: str, at: int) -> bool:
    """Whether a word may begin or end there: within letters only in scripts that are written without spaces."""
    around = text[max(at - 1, 0) : at + 1]
    return at in (0, len(text)) or not around.isalnum() or any(letter >= "\u0e00" for letter in around)


def compared(truth: Sequence[Span], said: Sequence[Span]) -> dict[str, int]:
    """Of one document: how many spans are there, how many are said, and how many of these are right, with both ends and
    the label."""
    return {"true": len(set(truth)), "said": len(set(said)), "hits": len(set(truth) & set(said))}


def _sums(items: pl.DataFrame, prefix: str = "") -> Floats:
    """(items, 3): hits, spans there, spans said."""
    return items.select(f"{prefix}hits", "true", f"{prefix}said").to_numpy().astype(np.float64)


def _of(over: Floats, under: Floats) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Floats = np.where(under > 0, over / under, 0.0)
    return found


SPAN_F1 = ItemMetric(
    span_metrics.SPAN_F1,
    ("hits", "true", "said"),
    _sums,
    lambda sums: _of(2 * sums[..., 0], sums[..., 1] + sums[..., 2]),
)
OTHERS = {
    "precision": lambda sums: _of(sums[..., 0], sums[..., 2]),
    "recall": lambda sums: _of(sums[..., 0], sums[..., 1]),
}


def measure(items: pl.DataFrame, conf: SpanEval, prefix: str = "") -> dict[str, float]:
    """span_f1, precision and recall of items (hits, true, said), each with _lo and _hi; `prefix` stands before the
    columns of a baseline, and before the names of its figures."""
    columns, found = _sums(items, prefix), dict[str, float]()
    for name, value in {"span_f1": SPAN_F1.value, **OTHERS}.items():
        found |= with_interval(f"{prefix}{name}", columns, value, conf.resamples, conf.seed, conf.confidence)
    return found
