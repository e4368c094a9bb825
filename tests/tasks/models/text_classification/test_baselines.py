from __future__ import annotations

import numpy as np

from tasks.models.text_classification import baselines
from tasks.models.text_classification.quality import one_hot


def test_the_majority_baseline_gives_every_item_the_training_shares() -> None:
    found = baselines.majority(one_hot(np.array([0, 0, 0, 2]), 3), items=2)
    assert found.tolist() == [[0.75, 0.0, 0.25]] * 2


def test_naive_bayes_tells_words_apart_and_knows_a_class_it_never_saw_as_impossible() -> None:
    train = ["frame index merge", "frame column", "command option", "prompt option command"]
    truth = one_hot(np.array([0, 0, 2, 2]), 3)
    found = baselines.naive_bayes(train, truth, ["merge frame", "option"], smoothing=0.1, vocabulary=100)
    assert found.argmax(axis=1).tolist() == [0, 2]
    assert (found[:, 1] == 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_naive_bayes_of_several_labels_decides_on_each_alone() -> None:
    train = ["frame index", "frame option", "command option", "tea"]
    truth = np.array([[1, 0], [1, 1], [0, 1], [0, 0]], dtype=bool)
    found = baselines.naive_bayes(
        train, truth, ["index frame option command", "tea"], smoothing=0.1, vocabulary=100, several=True
    )
    assert (found > 0.5).tolist() == [[True, True], [False, False]]


def test_logistic_regression_tells_words_apart_also_where_a_text_has_several_labels() -> None:
    train = ["frame index merge", "frame column", "command option", "prompt option command"] * 5
    found = baselines.logistic(train, one_hot(np.array([0, 0, 2, 2] * 5), 3), ["merge frame", "option"], vocabulary=100)
    assert found.argmax(axis=1).tolist() == [0, 2] and (found[:, 1] == 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1)
    truth = np.array([[1, 0, 1], [1, 0, 1], [0, 0, 1], [0, 0, 1]] * 5, dtype=bool)
    several = baselines.logistic(train, truth, ["merge frame", "option"], vocabulary=100, several=True)
    assert (several > 0.5).tolist() == [[True, False, True], [False, False, True]]
