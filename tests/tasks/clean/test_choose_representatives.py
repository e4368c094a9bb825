import hashlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tasks.clean.choose_representatives import choose
from tasks.clean.likeness import Texts
from tasks.clean.load_signatures import EARLIER, FRESH, KEPT, take_in
from tasks.clean.union_find import UnionFind
from tasks.formats.documents import PARTS
from tests.tasks.clean.test_load_signatures import CONF, write

ALL_ALIKE = CONF.model_copy(update={"threshold": 0.0})


def texts(folder: Path, numbers: list[int]) -> Texts:
    """The documents of the one shard, all in one part."""
    ids = [hashlib.sha256(str(n).encode()).hexdigest()[:32] for n in numbers]
    table = pl.DataFrame({"id": ids, "text": [f"the text of number {n}" for n in numbers]})
    for part in PARTS:
        table.head(len(table) if part == "train" else 0).write_parquet(folder / f"{part}.parquet")
    return {"a": lambda part: folder / f"{part}.parquet"}


@pytest.mark.parametrize(
    ("parts", "earlier", "kept", "fresh"),
    [
        ([2, 2, 2], [], [0], [0]),  # the smallest id
        ([2, 1, 0], [], [2], [2]),  # test before valid before train
        ([2, 1, 1], [], [1], [1]),
        ([2, 2, 0], [1], [1], [2]),  # what was accepted stays, and is not what would be chosen now
        ([2, 2, 0], [0, 1], [0, 1], [2]),
    ],
)
def test_the_one_that_stays_in_a_cluster(
    tmp_path: Path, parts: list[int], earlier: list[int], kept: list[int], fresh: list[int]
) -> None:
    by_id = sorted(range(30), key=lambda n: hashlib.sha256(str(n).encode()).hexdigest())
    numbers: list[int] = []
    for part in parts:  # the next id of that part, so that the documents' numbers are the places in `parts`
        numbers.append(next(n for n in by_id[by_id.index(numbers[-1]) + 1 if numbers else 0 :] if n % 3 == part))
    (tmp_path / "scratch").mkdir()
    documents, before = take_in(write(tmp_path, {"a": numbers}), None, tmp_path / "scratch", CONF)
    documents.flags[earlier] |= EARLIER
    groups = UnionFind(3)
    groups.join(np.array([0, 1], np.uint32), np.array([1, 2], np.uint32))
    survivors = choose(documents, before, groups, texts(tmp_path, numbers), tmp_path / "scratch", ALL_ALIKE)
    assert np.flatnonzero(documents.flags & KEPT).tolist() == kept
    assert np.flatnonzero(documents.flags & FRESH).tolist() == fresh
    found = [n if n in kept else kept[0] for n in range(3)]
    assert survivors.kept.tolist() == found
    assert survivors.sizes.read()["size"].tolist() == [found.count(n) for n in range(3)]


def test_documents_of_a_cluster_that_are_not_alike_all_stay(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    documents, before = take_in(write(tmp_path, {"a": [0, 3, 6]}), None, tmp_path / "scratch", CONF)
    groups = UnionFind(3)
    groups.join(np.array([0, 1], np.uint32), np.array([1, 2], np.uint32))
    survivors = choose(documents, before, groups, texts(tmp_path, [0, 3, 6]), tmp_path / "scratch", CONF)
    assert survivors.kept.tolist() == [0, 1, 2]
