from __future__ import annotations

import numpy as np

from tasks.models.text_classification import baselines


def test_the_majority_baseline_gives_every_item_the_training_shares() -> None:
    found = baselines.majority([0, 0, 0, 2], classes=3, items=2)
    assert found.tolist() == [[0.75, 0.0, 0.25]] * 2


def test_naive_bayes_tells_words_apart_and_knows_a_class_it_never_saw_as_impossible() -> None:
    train = ["frame index merge", "frame column", "command option", "prompt option command"]
    found = baselines.naive_bayes(train, [0, 0, 2, 2], ["merge frame", "option"], 3, smoothing=0.1, vocabulary=100)
    assert found.argmax(axis=1).tolist() == [0, 2]
    assert (found[:, 1] == 0).all()
    np.testing.assert_allclose(found.sum(axis=1), 1)
