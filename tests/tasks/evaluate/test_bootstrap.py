from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.evaluate import bootstrap


@given(st.integers(1, 40), st.integers(1, 60), st.integers(0, 5))
def test_every_resample_draws_as_many_items_as_there_are(items: int, resamples: int, seed: int) -> None:
    drawn = np.concatenate(list(bootstrap.counts(items, resamples, seed)))
    assert drawn.shape == (resamples, items)
    assert (drawn.sum(axis=1) == items).all() and (drawn >= 0).all()


def test_the_draws_do_not_depend_on_how_they_are_cut_into_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = np.concatenate(list(bootstrap.counts(7, 50, 1)))
    monkeypatch.setattr(bootstrap, "CHUNK", 7 * 9)
    assert (np.concatenate(list(bootstrap.counts(7, 50, 1))) == whole).all()


def test_a_95_percent_interval_of_a_mean_covers_it_about_95_times_in_100() -> None:
    rng = np.random.default_rng(0)
    hits = 0
    for seed in range(300):
        values = rng.exponential(size=(80, 1))
        low, high = bootstrap.interval(bootstrap.resampled_sums(values, 400, seed)[:, 0] / 80, 0.95)
        hits += low <= 1.0 <= high
    assert 0.88 <= hits / 300 <= 0.98


@given(st.floats(0.5, 0.99))
def test_a_higher_confidence_gives_no_narrower_interval(confidence: float) -> None:
    values = np.random.default_rng(0).normal(size=500)
    narrow, wide = bootstrap.interval(values, 0.5), bootstrap.interval(values, confidence)
    assert wide[0] <= narrow[0] and narrow[1] <= wide[1]
