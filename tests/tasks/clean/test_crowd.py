from pathlib import Path

import numpy as np
import pytest

from conf.schema.clean import DedupConf
from tasks.clean import crowd
from tasks.clean.columns import Column
from tasks.clean.likeness import Likeness

CONF = DedupConf(bands=3, rows=2, threshold=0.6)


def dispersed(folder: Path, minhash: np.ndarray, immune: list[int] | None = None) -> list[int]:
    column = Column(folder / "signatures", [("minhash", "<u4", 6)])
    column.append(minhash=minhash)
    docs = np.arange(len(minhash), dtype=np.uint32)
    likeness = Likeness(column, Exact(column), CONF)  # type: ignore[arg-type]
    return crowd.disperse(docs, np.isin(docs, immune or []), likeness, CONF).tolist()


class Exact:
    """Sets of shingles whose similarity is what the signatures say."""

    def __init__(self, signatures: Column) -> None:
        self.signatures = signatures

    def similarity(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        one, other = (self.signatures.take(docs)["minhash"] for docs in (left, right))
        return (one == other).mean(axis=1)


def one_by_one(minhash: np.ndarray, immune: list[int]) -> list[int]:
    kept: list[int] = []
    for row, own in enumerate(minhash):
        shares = [(own.reshape(3, 2) == minhash[one].reshape(3, 2)).all(axis=1).any() for one in range(row)]
        near = [n for n in range(row) if kept[n] == n and shares[n] and (own == minhash[n]).mean() >= 0.6]
        kept.append(near[0] if near and row not in immune else row)
    return kept


@pytest.mark.parametrize("block", [1, 2, 7, 512])
@pytest.mark.parametrize("immune", [[], [3, 4, 90]])
def test_each_goes_for_the_first_before_it_that_stays_and_is_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, immune: list[int]
) -> None:
    monkeypatch.setattr(crowd, "_BLOCK", block)
    minhash = np.random.default_rng(block).integers(0, 3, (150, 6)).astype(np.uint32)
    assert dispersed(tmp_path, minhash, immune) == one_by_one(minhash, immune)


@pytest.mark.parametrize("block", [1, 4, 64])
def test_a_document_is_compared_with_a_few_of_a_crowded_band(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(crowd, "_BLOCK", block)
    monkeypatch.setattr(crowd, "SHARING", 3)
    apart = np.array([[7, 7, 10 * n, 10 * n + 1, 10 * n + 2, 10 * n + 3] for n in range(1, 8)], np.uint32)
    again = np.concatenate((apart, apart[[2]], apart[[6]]))
    again[7:, 2:4] = [[1, 1], [1, 2]]
    again[7:, 4] = [3, 4]  # one band in common with the one that it is like, which 7 others share
    again[7, 4:], again[8, 4:] = again[2, 4:], again[6, 4:]
    found = dispersed(tmp_path, again)
    assert found[:7] == list(range(7)) and found[7] == 2


def test_what_is_not_alike_stays_although_it_shares_a_band(tmp_path: Path) -> None:
    assert dispersed(tmp_path, np.array([[1, 2, 3, 4, 5, 6], [1, 2, 7, 7, 7, 7]], np.uint32)) == [0, 1]
