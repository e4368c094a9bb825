from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conf.schema.clean import EvalsetConf
from tasks.clean.evalset import freeze, strike
from tasks.core.errors import DataError
from tasks.formats.documents import DOCUMENTS


def frozen(folder: Path, frames: list[pl.DataFrame], conf: EvalsetConf) -> tuple[pl.DataFrame, bytes]:
    paths = [folder / f"{n}.parquet" for n in range(len(frames))]
    for path, frame in zip(paths, frames, strict=True):
        frame.write_parquet(path)
    freeze(paths, folder / "out.parquet", conf)
    return pl.read_parquet(folder / "out.parquet"), (folder / "out.parquet").read_bytes()


@given(shards=st.lists(st.integers(0, 3), min_size=1, max_size=40), limit=st.none() | st.integers(1, 10))
def test_the_set_does_not_depend_on_how_documents_are_sharded(tmp_path_factory, documents, shards, limit) -> None:
    folder = tmp_path_factory.mktemp("evalset")
    half = len(shards) // 2
    texts = [f"text {n}" for n in range(len(shards))]
    frame = pl.concat([documents(texts[:half], source="a"), documents(texts[half:], source="b")])
    which = pl.Series(shards)
    conf = EvalsetConf(max_documents=limit)
    _, scattered_bytes = frozen(folder, [frame.filter(which == n) for n in range(4)], conf)
    whole, whole_bytes = frozen(folder, [frame.sort("id", descending=True)], conf)
    assert scattered_bytes == whole_bytes
    assert whole["id"].is_sorted() and whole.schema == DOCUMENTS
    for source in ("a", "b"):
        ids = sorted(frame.filter(pl.col("source") == source)["id"])
        assert whole.filter(pl.col("source") == source)["id"].to_list() == (ids if limit is None else ids[:limit])


def test_an_id_is_taken_once_and_counted(tmp_path: Path, documents) -> None:
    documents(["one", "two"]).write_parquet(tmp_path / "a.parquet")
    paths = [tmp_path / "a.parquet", tmp_path / "a.parquet"]
    stats = freeze(paths, tmp_path / "out.parquet", EvalsetConf(version=3))
    assert stats == {"name": "main", "version": 3, "documents": 2, "bytes": 6, "sources": {"docs": 2}}


@pytest.mark.parametrize(("limit", "left"), [(None, 0), (9, 0), (7, 2), (2, 9)])
def test_held_out_documents_over_the_limit_of_a_source_are_counted_and_warned_of(
    tmp_path: Path, documents, limit: int | None, left: int
) -> None:
    frame = pl.concat([documents([f"text {n}" for n in range(9)]), documents(["a", "b", "c", "d"], source="other")])
    frame.write_parquet(tmp_path / "a.parquet")
    stats = freeze([tmp_path / "a.parquet"], tmp_path / "out.parquet", EvalsetConf(max_documents=limit))
    assert stats.get("left_out", 0) == left == 13 - stats["documents"]
    said = stats.get("warnings", [])
    assert [one["text"].startswith(f"{left} held-out documents are neither") for one in said] == [True] * bool(left)


def test_nothing_held_out_is_an_error_that_names_the_option(tmp_path: Path, documents) -> None:
    documents([]).write_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"split\.test"):
        freeze([tmp_path / "a.parquet"], tmp_path / "out.parquet", EvalsetConf())


def test_a_set_without_a_document_is_the_one_that_would_have_been_frozen_without_it(tmp_path: Path, documents) -> None:
    frame = documents([f"text {n}" for n in range(9)])
    frozen(tmp_path, [frame], EvalsetConf())
    struck, other = frame["id"][4], tmp_path / "struck.parquet"
    stats = strike(tmp_path / "out.parquet", other, [struck], EvalsetConf())
    assert stats["documents"] == 8
    assert other.read_bytes() == frozen(tmp_path, [frame.filter(pl.col("id") != struck)], EvalsetConf())[1]
    with pytest.raises(DataError, match=r"raise data\.evalset\.version"):
        strike(other, tmp_path / "none.parquet", frame["id"].to_list(), EvalsetConf())
