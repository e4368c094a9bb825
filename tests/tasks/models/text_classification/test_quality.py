from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score

from tasks.models.text_classification import quality
from tasks.models.text_classification.classifier_options import ClassifierEval
from tasks.models.text_classification.labels import truth_of


def draw(seed: int, items: int = 60, classes: int = 3, coarse: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = rng.random((items, classes)) + 0.01
    scores = np.round(scores, 1) + 0.1 if coarse else scores
    truth = np.concatenate([np.arange(classes), rng.integers(classes, size=items - classes)])
    return scores / scores.sum(axis=1, keepdims=True), truth


@given(st.integers(0, 1000))
def test_macro_f1_is_scikit_learns(seed: int) -> None:
    probabilities, truth = draw(seed)
    guess = probabilities.argmax(axis=1)
    found = quality.macro_f1(quality.macro_f1_columns(quality.one_hot(truth, 3), quality.one_hot(guess, 3)).sum(axis=0))
    assert found == pytest.approx(f1_score(truth, guess, average="macro"))


@given(st.integers(0, 1000), st.booleans())
def test_roc_auc_is_scikit_learns_also_with_ties(seed: int, coarse: bool) -> None:
    probabilities, truth = draw(seed, coarse=coarse)
    found = quality.roc_auc(probabilities, quality.one_hot(truth, 3), np.ones((1, len(truth))))[0]
    assert found == pytest.approx(roc_auc_score(truth, probabilities, multi_class="ovr", average="macro"))


def test_roc_auc_of_a_resample_is_that_of_the_drawn_items() -> None:
    probabilities, truth = draw(1)
    drawn = np.random.default_rng(0).integers(len(truth), size=len(truth))
    weights = np.bincount(drawn, minlength=len(truth)).astype(float)[None]
    alone = quality.roc_auc(probabilities[drawn], quality.one_hot(truth[drawn], 3), np.ones((1, len(truth))))
    assert quality.roc_auc(probabilities, quality.one_hot(truth, 3), weights)[0] == pytest.approx(alone[0])


def test_a_class_that_a_resample_lacks_is_left_out_of_its_mean() -> None:
    probabilities, truth = draw(2)
    weights = (truth != 2).astype(float)[None]
    two = [roc_auc_score(truth[truth != 2] == n, probabilities[truth != 2, n]) for n in (0, 1)]
    assert quality.roc_auc(probabilities, quality.one_hot(truth, 3), weights)[0] == pytest.approx(np.mean(two))


def test_calibration_error_is_the_weighted_gap_between_confidence_and_accuracy() -> None:
    probabilities = np.array([[0.95, 0.05]] * 4 + [[0.65, 0.35]] * 4)
    truth = np.array([0, 0, 0, 1, 0, 0, 1, 1])
    sums = quality.calibration_columns(probabilities, quality.one_hot(truth, probabilities.shape[1]), 10).sum(axis=0)
    assert quality.calibration_error(sums) == pytest.approx((abs(0.95 - 0.75) + abs(0.65 - 0.5)) / 2)


def test_the_bins_of_the_calibration_add_up_to_its_error() -> None:
    draw = np.random.default_rng(0)
    probabilities, truth = draw.dirichlet(np.ones(3), 50), draw.integers(0, 3, 50)
    bins = quality.calibration(probabilities, quality.one_hot(truth, 3), 10)
    assert sum(row["items"] for row in bins) == 50 and all(row["items"] for row in bins)
    error = sum(row["items"] * abs(row["confidence"] - row["accuracy"]) for row in bins) / 50
    sums = quality.calibration_columns(probabilities, quality.one_hot(truth, probabilities.shape[1]), 10).sum(axis=0)
    assert error == pytest.approx(float(quality.calibration_error(sums)), abs=1e-5)


def test_a_perfect_and_certain_classifier_has_no_error_of_any_kind() -> None:
    truth = np.array([0, 1, 2] * 20)
    metrics = quality.measure(np.eye(3)[truth], quality.one_hot(truth, 3), ClassifierEval())
    assert {name: metrics[name] for name in ("accuracy", "macro_f1", "roc_auc", "nats", "ece")} == {
        "accuracy": 1.0,
        "macro_f1": 1.0,
        "roc_auc": 1.0,
        "nats": 0.0,
        "ece": 0.0,
    }


@given(st.integers(0, 50))
def test_every_measure_lies_within_its_interval(seed: int) -> None:
    probabilities, truth = draw(seed, items=80)
    metrics = quality.measure(probabilities, quality.one_hot(truth, 3), ClassifierEval(resamples=200))
    for name in ("accuracy", "macro_f1", "roc_auc", "nats"):
        assert metrics[f"{name}_lo"] <= metrics[name] <= metrics[f"{name}_hi"]


@given(st.integers(0, 50))
def test_with_several_labels_the_figures_are_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, probabilities = rng.random((60, 3)) > 0.5, rng.uniform(0.05, 0.95, (60, 3))
    found = quality.measure(probabilities, truth, ClassifierEval(resamples=100), several=True)
    guess = probabilities > 0.5
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, guess))
    assert found["macro_f1"] == pytest.approx(f1_score(truth, guess, average="macro"))
    assert found["roc_auc"] == pytest.approx(roc_auc_score(truth, probabilities, average="macro"))
    losses = [log_loss(truth[:, n], probabilities[:, n]) for n in range(3)]
    assert found["nats"] == pytest.approx(sum(losses)) and "ece" not in found


def test_macro_f1_of_items_with_lists_of_labels_is_that_of_the_measure() -> None:
    items = pl.DataFrame({"label": [["a"], ["a", "b"], []], "predicted": [["a"], ["b"], ["c"]]})
    names = ["a", "b", "c"]
    truth, guess = truth_of(items["label"], names), truth_of(items["predicted"], names)
    wanted = f1_score(truth, guess, average="macro", zero_division=0.0)
    assert quality.macro_f1(quality.MACRO_F1.columns(items).sum(axis=0)) == pytest.approx(wanted)
