from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.pretrain.data import mixture

weights = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=2),
    st.one_of(st.floats(1e-4, 100), st.integers(1, 1000), st.sampled_from([0.7, 0.2, 0.1, 0.35, 1e-5])),
    min_size=1,
    max_size=9,
)


@given(weights=weights, batch=st.integers(1, 64))
@settings(max_examples=25, deadline=None)
def test_after_any_batch_each_source_has_its_share_to_one_sequence(weights: dict[str, float], batch: int) -> None:
    counts = mixture.shares(weights)
    given = mixture.given(tuple(counts.values()), np.arange(120, dtype=np.int64) * batch)
    assert (given.sum(axis=1) == np.arange(120) * batch).all()
    assert (np.diff(given, axis=0) >= 0).all()
    total = math.fsum(weights.values())
    for source, weight in enumerate(weights.values()):
        # What rounding a weight to a part of the longest cycle comes to over so many sequences is not an error.
        room = 1 + 119 * batch / mixture.LONGEST
        assert np.abs(given[:, source] - np.arange(120) * batch * weight / total).max() <= room


@pytest.mark.parametrize(
    ("weights", "counts"),
    [
        ({"a": 0.7, "b": 0.2, "c": 0.1}, {"a": 7, "b": 2, "c": 1}),
        ({"a": 3.0, "b": 1.0}, {"a": 3, "b": 1}),
        ({"a": 50, "b": 25.0, "c": 25}, {"a": 2, "b": 1, "c": 1}),
        ({"all": 1.0}, {"all": 1}),
        ({"a": 0.25, "b": 0.125}, {"a": 2, "b": 1}),
    ],
)
def test_weights_that_people_write_are_met_exactly(weights: dict[str, float], counts: dict[str, int]) -> None:
    assert mixture.shares(weights) == counts
    order = tuple(counts.values())
    assert tuple(mixture.given(order, np.array([1000 * sum(order)]))[0]) == tuple(1000 * count for count in order)


def test_a_source_of_a_weight_below_one_sequence_in_a_batch_comes_about_as_often_as_its_weight_says() -> None:
    counts = mixture.shares({"web": 0.995, "maths": 0.003, "law": 0.002})
    given = mixture.given(tuple(counts.values()), np.arange(0, 10_001, 8, dtype=np.int64))
    assert tuple(given[-1]) == (9950, 30, 20)
    gaps = np.diff(np.flatnonzero(np.diff(given[:, 2])))
    assert len(gaps) == 19 and abs(gaps * 8 - 500).max() <= 500


def test_weights_that_no_short_cycle_meets_keep_every_source() -> None:
    counts = mixture.shares({"a": math.pi, "b": math.e, "c": 1e-9})
    assert sum(counts.values()) <= mixture.LONGEST + 2 and counts["c"] == 1
    assert abs(counts["a"] / counts["b"] - math.pi / math.e) < 1e-4
