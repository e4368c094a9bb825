"""What a classifier has to beat: the most frequent class, and naive Bayes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.naive_bayes import MultinomialNB

from tasks.text.words import terms

Probabilities = NDArray[np.float64]
"""(items, classes), rows that add up to 1."""


def majority(labels: Sequence[int], classes: int, items: int) -> Probabilities:
    """The share of each class among the training labels, for every item."""
    share = np.bincount(labels, minlength=classes) / len(labels)
    return np.tile(share, (items, 1))


def naive_bayes(
    train: Sequence[str],
    labels: Sequence[int],
    test: Sequence[str],
    classes: int,
    smoothing: float,
    vocabulary: int,
) -> Probabilities:
    """Multinomial naive Bayes over word counts; its vocabulary is that of the training texts."""
    counter = CountVectorizer(max_features=vocabulary, dtype=np.float64, analyzer=list)
    known, unknown = (terms(pl.Series(texts, dtype=pl.String)) for texts in (train, test))
    model = MultinomialNB(alpha=smoothing).fit(counter.fit_transform(known), labels)
    probabilities = np.zeros((len(test), classes))
    probabilities[:, model.classes_] = model.predict_proba(counter.transform(unknown))
    return probabilities
