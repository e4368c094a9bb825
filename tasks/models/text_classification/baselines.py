"""What a classifier has to beat: the most frequent class, naive Bayes, and logistic regression."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import MultinomialNB

from tasks.models import word_counts
from tasks.models.text_classification.labels import Truth

Probabilities = NDArray[np.float64]
"""(items, classes); rows add up to 1 where an item has one label."""
STRENGTH = 10.0
"""Inverse of the strength of the penalty on weights; scikit-learn's 1 fits texts too little."""


def majority(truth: Truth, items: int) -> Probabilities:
    """The share of each class among the training labels (items, classes), for every item."""
    return np.tile(truth.mean(axis=0), (items, 1))


def naive_bayes(
    train: Sequence[str], truth: Truth, test: Sequence[str], smoothing: float, vocabulary: int, *, several: bool = False
) -> Probabilities:
    """Multinomial naive Bayes over word counts; its vocabulary is that of the training texts. With `several` labels one
    for each class against all others."""
    seen, asked = word_counts.counts(train, test, vocabulary)
    return _fitted(lambda: MultinomialNB(alpha=smoothing), seen, truth, asked, several)


def logistic(
    train: Sequence[str], truth: Truth, test: Sequence[str], vocabulary: int, *, several: bool = False
) -> Probabilities:
    """Logistic regression over TF-IDF of words; with `several` labels one for each class against all others."""
    seen, asked = word_counts.tfidf(train, test, vocabulary)
    return _fitted(lambda: LogisticRegression(C=STRENGTH, tol=1e-3, max_iter=300), seen, truth, asked, several)


def _fitted(make: Callable[[], Any], seen: Any, truth: Truth, asked: Any, several: bool) -> Probabilities:
    """What models of scikit-learn say of (items, words), once they have seen others with their classes."""
    found = np.zeros((asked.shape[0], truth.shape[1]))
    if not several:
        model = make().fit(seen, truth.argmax(axis=1))
        found[:, model.classes_] = model.predict_proba(asked)
        return found
    for place, column in enumerate(truth.T):
        if column.all() or not column.any():  # a class of all or of none has nothing to be told from
            found[:, place] = float(column.all())
        else:
            found[:, place] = make().fit(seen, column).predict_proba(asked)[:, 1]
    return found
