"""The distribution of three-byte sequences."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.validate import distribution

TEXTS = st.lists(st.one_of(st.none(), st.text(max_size=8)), max_size=12)


def counted(texts: list[str | None], step: int = 100) -> np.ndarray:
    series = pl.Series(texts, dtype=pl.String)
    return distribution.count(series[n : n + step] for n in range(0, len(series), step))


def by_hand(texts: list[str | None]) -> np.ndarray:
    """The definition, sequence by sequence."""
    found: Counter[int] = Counter()
    for text in texts:
        data = (text or "").encode()
        for n in range(len(data) - 2):
            found[(int.from_bytes(data[n : n + 3]) * 2654435761 % 2**32) >> 20] += 1
    return np.array([found[n] for n in range(distribution.BUCKETS)])


@given(TEXTS, st.integers(1, 5))
def test_sequences_are_counted_within_texts_whatever_the_batches(texts: list[str | None], step: int) -> None:
    assert np.array_equal(counted(texts, step), by_hand(texts))


def test_texts_longer_than_what_is_looked_at_together_lose_no_sequence(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["The broken harbour of the morning — number one.", "x" * 30]
    whole = by_hand(texts)
    for chunk in (1, 2, 3, 7):
        monkeypatch.setattr(distribution, "CHUNK", chunk)
        assert np.array_equal(counted(texts), whole)


@given(TEXTS, TEXTS)
def test_the_divergence_is_symmetric_between_0_and_1_and_0_for_equal_shares(one: list[str], other: list[str]) -> None:
    p, q = counted(one), counted(other)
    assert distribution.divergence(p, q) == distribution.divergence(q, p)
    assert 0 <= distribution.divergence(p, q) <= 1
    assert distribution.divergence(p, 3 * p) == 0


def test_nothing_in_common_is_1_bit_and_half_in_common_is_as_computed_by_hand() -> None:
    p, q, both = (np.array(counts, np.int64) for counts in ([4, 0, 0], [0, 9, 0], [1, 1, 0]))
    assert distribution.divergence(p, q) == 1
    assert distribution.divergence(p, both) == pytest.approx(0.311278, abs=1e-6)
    assert distribution.divergence(p, 0 * q) == 1


def test_files_are_small_and_add_up(tmp_path: Path) -> None:
    texts = ["one two three", "four five six"]
    for n, text in enumerate(texts):
        distribution.write(tmp_path / f"{n}.npy", counted([text]))
    assert (tmp_path / "0.npy").stat().st_size <= 64_000
    assert np.array_equal(distribution.read([tmp_path / "0.npy", tmp_path / "1.npy"]), by_hand(texts))
