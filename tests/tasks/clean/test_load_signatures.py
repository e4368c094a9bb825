import hashlib
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from conf.schema.clean import DedupConf
from tasks.clean import load_signatures
from tasks.clean.columns import to_hex
from tasks.clean.load_signatures import EARLIER, RANK, RANKS, Documents, take_in
from tasks.clean.signatures import schema
from tasks.core.errors import DataError

CONF = DedupConf(bands=2, rows=2)


def write(folder: Path, shards: dict[str, list[int]]) -> dict[str, Path]:
    paths = {}
    for shard, numbers in shards.items():
        ids = [hashlib.sha256(str(n).encode()).hexdigest()[:32] for n in numbers]
        rows = {"id": ids, "part": [list(RANKS)[n % 3] for n in numbers], "exact": ids}
        rows |= {"minhash": [[n, n + 1, n, n] for n in numbers]}
        paths[shard] = folder / f"{shard}.parquet"
        pl.DataFrame(rows, schema=schema(CONF)).write_parquet(paths[shard])
    return paths


def taken(folder: Path, shards: dict[str, list[int]], previous: Path | None = None) -> Documents:
    (folder / "scratch").mkdir()
    return take_in(write(folder, shards), previous, folder / "scratch", CONF)[0]


@pytest.mark.parametrize("rows", [4, 1000])
def test_documents_are_in_the_order_of_ids_each_once(tmp_path: Path, monkeypatch, rows: int) -> None:
    monkeypatch.setattr(load_signatures, "_ROWS", rows)
    found = taken(tmp_path, {"b": [*range(30), 40], "a": [*range(20, 40)]})
    names = found.names.read()
    ids = to_hex(np.ascontiguousarray(names["id"])).to_list()
    expected = {hashlib.sha256(str(n).encode()).hexdigest()[:32]: n for n in range(41)}
    assert ids == sorted(expected)
    numbers = [expected[id_] for id_ in ids]
    assert found.signatures.read()["minhash"].tolist() == [[n, n + 1, n, n] for n in numbers]
    assert [("a", "b")[shard] for shard in names["shard"]] == ["a" if 20 <= n < 40 else "b" for n in numbers]
    assert [rank & RANK for rank in found.flags] == [n % 3 for n in numbers]
    copies = np.concatenate(list(found.copies.drain()))
    assert sorted(numbers[doc] for doc in copies["doc"]) == list(range(20, 30)) and set(copies["shard"]) == {1}
    assert found.rows == {"a": 20, "b": 31} and found.starts[-1] == 41


def test_equal_bands_have_equal_keys(tmp_path: Path) -> None:
    found = taken(tmp_path, {"a": [1, 2, 3]})
    first, second = (rows for band in found.bands for rows in band.drain())
    assert len(set(first["key"])) == len(set(second["key"])) == 3 and not set(first["key"]) & set(second["key"])


def test_the_shard_that_held_an_accepted_document_keeps_it(tmp_path: Path) -> None:
    before = tmp_path / "before"
    (before / "accepted").mkdir(parents=True)
    ids = [hashlib.sha256(str(n).encode()).hexdigest()[:32] for n in (1, 2)]
    pl.DataFrame({"id": ids, "shard": ["b", "gone"]}).write_parquet(before / "accepted/documents.parquet")
    found = taken(tmp_path, {"b": [1, 2, 3], "a": [1, 2, 3]}, before)
    names = found.names.read()
    homes = dict(zip(to_hex(np.ascontiguousarray(names["id"])), names["shard"].tolist(), strict=True))
    assert homes[ids[0]] == 1 and homes[ids[1]] == 0
    assert int((found.flags & EARLIER > 0).sum()) == 2


def test_more_documents_than_can_be_numbered_are_refused(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(load_signatures, "LIMIT", 3)
    with pytest.raises(DataError, match=r"3 documents are more than deduplication can number"):
        taken(tmp_path, {"a": [1, 2, 3]})
