"""Words of texts as numbers: what models are made from that a network has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer

from tasks.text.words import terms


def counts(train: Sequence[str], test: Sequence[str], vocabulary: int) -> tuple[Any, Any]:
    """How often each of the `vocabulary` most frequent words of the training texts is in each text of both:
    (texts, words), sparse."""
    counter = CountVectorizer(max_features=vocabulary, dtype=np.float64, analyzer=list)
    known, unknown = (terms(pl.Series(texts, dtype=pl.String)) for texts in (train, test))
    return counter.fit_transform(known), counter.transform(unknown)


def tfidf(train: Sequence[str], test: Sequence[str], vocabulary: int) -> tuple[Any, Any]:
    """The same counts, sublinear, weighted by how rare a word is, each text of length 1 (Salton and Buckley 1988)."""
    seen, asked = counts(train, test, vocabulary)
    weights = TfidfTransformer(sublinear_tf=True).fit(seen)
    return weights.transform(seen), weights.transform(asked)
