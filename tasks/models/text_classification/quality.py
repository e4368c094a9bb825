"""Measures of a classifier from its probabilities, each with a bootstrap interval over all resamples at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tasks.evaluate.bootstrap import Floats, counts, interval, with_interval
from tasks.evaluate.metric import ItemMetric, mean, ratio
from tasks.models.text_classification import label_metrics
from tasks.models.text_classification.classifier_options import ClassifierEval
from tasks.models.text_classification.labels import Truth, each_label, truth_of


def _classes(items: pl.DataFrame) -> Floats:
    names = sorted({*each_label(items["label"]), *each_label(items["predicted"])})
    return macro_f1_columns(truth_of(items["label"], names), truth_of(items["predicted"], names))


def macro_f1_columns(truth: Truth, predicted: Truth) -> Floats:
    """(items, 3 * classes): for each class whether an item is a hit, is of the class, is taken for the class."""
    return np.concatenate([truth & predicted, truth, predicted], axis=1).astype(np.float64)


def chosen(probabilities: Floats, several: bool) -> Truth:
    """Which classes items are taken for: the likeliest, or with several labels all over one half."""
    if several:
        over: Truth = probabilities > 0.5
        return over
    return one_hot(probabilities.argmax(axis=1), probabilities.shape[1])


def one_hot(numbers: NDArray[np.int64], classes: int) -> Truth:
    """Items of one class each."""
    found: Truth = numbers[:, None] == np.arange(classes)
    return found


def macro_f1(sums: Floats) -> Floats:
    """Mean over the classes that occur (in truth or prediction) of 2 hits / (items of it + items taken for it)."""
    hits, of_class, as_class = np.split(sums, 3, axis=-1)
    either = of_class + as_class
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Floats = np.nanmean(np.where(either > 0, 2 * hits / either, np.nan), axis=-1)
    return result


def calibration_columns(probabilities: Floats, truth: Truth, bins: int) -> Floats:
    """(items, bins): in the bin of its confidence, confidence minus 1 if right, else confidence."""
    confidence, right = probabilities.max(axis=1), _right(probabilities, truth)
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gap = confidence - right
    return np.concatenate([(place[:, None] == np.arange(bins)) * gap[:, None], np.ones((len(gap), 1))], axis=1)


def calibration_error(sums: Floats) -> Floats:
    """Expected calibration error (Guo et al. 2017): |mean confidence - accuracy| over bins, weighted by their items."""
    result: Floats = np.abs(sums[..., :-1]).sum(axis=-1) / sums[..., -1]
    return result


def calibration(probabilities: Floats, truth: Truth, bins: int) -> list[dict[str, float]]:
    """For each bin of confidence that holds items: their number, mean confidence and accuracy."""
    confidence, right = probabilities.max(axis=1), _right(probabilities, truth)
    place = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    return [
        {
            "items": int(held.sum()),
            "confidence": round(float(confidence[held].mean()), 6),
            "accuracy": round(float(right[held].mean()), 6),
        }
        for n in range(bins)
        if (held := place == n).any()
    ]


def _right(probabilities: Floats, truth: Truth) -> NDArray[np.bool_]:
    """Whether the likeliest class is one that the item has."""
    found: NDArray[np.bool_] = truth[np.arange(len(truth)), probabilities.argmax(axis=1)]
    return found


def roc_auc(probabilities: Floats, truth: Truth, weights: Floats) -> Floats:
    """One-versus-rest ROC-AUC, the mean over classes, for each row of item weights (resamples, items).

    The probability that an item of a class has a higher score for it than one of another class, ties counting half
    (Mann & Whitney 1947). A class without items, or without others, in a resample is left out there.
    """
    areas = [_area(probabilities[:, n], truth[:, n], weights) for n in range(probabilities.shape[1])]
    with np.errstate(invalid="ignore"):
        stacked = np.stack(areas)
        known = (~np.isnan(stacked)).sum(axis=0)
        result: Floats = np.where(known > 0, np.nansum(stacked, axis=0) / np.maximum(known, 1), np.nan)
    return result


def _area(scores: Floats, positive: NDArray[np.bool_], weights: Floats) -> Floats:
    ranked = np.argsort(scores, kind="stable")
    _, starts = np.unique(scores[ranked], return_index=True)
    of_class = np.add.reduceat(weights[:, ranked] * positive[ranked], starts, axis=1)
    others = np.add.reduceat(weights[:, ranked] * ~positive[ranked], starts, axis=1)
    below = np.cumsum(others, axis=1) - others / 2
    pairs = of_class.sum(axis=1) * others.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Floats = np.where(pairs > 0, (of_class * below).sum(axis=1) / pairs, np.nan)
    return result


def nats(probabilities: Floats, truth: Truth, several: bool = False) -> Floats:
    """The loss of each item: minus the logarithm of the probability of its class; with several labels the sum over all
    classes, of each of what is true of it."""
    if several:
        told = np.where(truth, probabilities, 1 - probabilities)
        summed: Floats = -np.log(np.maximum(told, 1e-12)).sum(axis=1)
        return summed
    result: Floats = -np.log(np.maximum((probabilities * truth).sum(axis=1), 1e-12))
    return result


def measure(probabilities: Floats, truth: Truth, conf: ClassifierEval, several: bool = False) -> dict[str, float]:
    """accuracy (all of an item's labels right, and no others), macro_f1, nats, roc_auc and, with one label for each
    item, ece; each with _lo and _hi."""
    predicted, ones = chosen(probabilities, several), np.ones(len(truth))
    right = (predicted == truth).all(axis=1).astype(np.float64)
    columns: dict[str, tuple[Floats, Callable[[Floats], Floats]]] = {
        "accuracy": (np.stack([right, ones], axis=1), mean),
        "macro_f1": (macro_f1_columns(truth, predicted), macro_f1),
        "nats": (np.stack([nats(probabilities, truth, several), ones], axis=1), mean),
    }
    if not several:
        columns["ece"] = (calibration_columns(probabilities, truth, conf.bins), calibration_error)
    metrics: dict[str, float] = {}
    for name, (values, metric) in columns.items():
        metrics |= with_interval(name, values, metric, conf.resamples, conf.seed, conf.confidence)
    drawn = np.concatenate([roc_auc(probabilities, truth, w) for w in counts(len(truth), conf.resamples, conf.seed)])
    low, high = interval(drawn, conf.confidence)
    return metrics | {
        "roc_auc": float(roc_auc(probabilities, truth, ones[None])[0]),
        "roc_auc_lo": low,
        "roc_auc_hi": high,
    }


ACCURACY = ItemMetric(label_metrics.ACCURACY, ("correct",), lambda items: ratio(items, "correct", pl.lit(1.0)), mean)
MACRO_F1 = ItemMetric(label_metrics.MACRO_F1, ("label", "predicted"), _classes, macro_f1)
