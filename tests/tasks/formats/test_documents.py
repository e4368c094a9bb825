import itertools
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.errors import DataError
from tasks.formats.documents import DOCUMENTS, GROUP, TableWriter, read_batches


@given(cuts=st.lists(st.integers(0, 5000), max_size=5))
def test_a_files_bytes_do_not_depend_on_how_its_rows_came_in(tmp_path_factory, documents, cuts: list[int]) -> None:
    folder = tmp_path_factory.mktemp("tables")
    frame = documents([f"text {n}" for n in range(5000)])
    with TableWriter(folder / "whole.parquet", DOCUMENTS) as writer:
        writer.add(frame)
    borders = [0, *sorted(cuts), frame.height]
    with TableWriter(folder / "pieces.parquet", DOCUMENTS) as writer:
        for begin, end in itertools.pairwise(borders):
            writer.add(frame[begin:end])
    assert (folder / "whole.parquet").read_bytes() == (folder / "pieces.parquet").read_bytes()


def test_what_is_written_is_read_back_and_row_groups_are_small(tmp_path: Path, documents) -> None:
    talk = [[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]] * 4500
    frame = documents([f"text {n}" for n in range(4500)], messages=talk, label="x")
    with TableWriter(tmp_path / "docs.parquet", DOCUMENTS) as writer:
        writer.add(frame)
    assert pl.concat(read_batches(tmp_path / "docs.parquet")).equals(frame)
    assert pl.read_parquet(tmp_path / "docs.parquet").equals(frame)
    assert pq.ParquetFile(tmp_path / "docs.parquet").num_row_groups == 3
    assert max(batch.height for batch in read_batches(tmp_path / "docs.parquet")) <= GROUP


def test_large_documents_make_small_batches_and_row_groups(tmp_path: Path, documents) -> None:
    texts = [f"{n} " + "".join(chr(97 + (n * k * k + k) % 26) for k in range(997)) * 1000 for n in range(60)]
    with TableWriter(tmp_path / "docs.parquet", DOCUMENTS) as writer:
        writer.add(documents(texts))
    groups = pq.ParquetFile(tmp_path / "docs.parquet").metadata
    assert [groups.row_group(n).num_rows for n in range(groups.num_row_groups)] == [17, 17, 17, 9]
    assert max(batch.height for batch in read_batches(tmp_path / "docs.parquet")) < 40
    assert pl.concat(read_batches(tmp_path / "docs.parquet"))["text"].to_list() == texts


def test_columns_of_nulls_get_the_types_of_the_documents_table(tmp_path: Path, documents) -> None:
    loose = documents(["one", "two"]).with_columns(pl.lit(None).alias("label"), pl.lit(None).alias("messages"))
    loose.write_parquet(tmp_path / "docs.parquet")
    assert next(read_batches(tmp_path / "docs.parquet")).schema == DOCUMENTS


def test_a_table_without_text_is_refused_by_name(tmp_path: Path) -> None:
    pl.DataFrame({"id": ["a"]}).write_parquet(tmp_path / "odd.parquet")
    with pytest.raises(DataError, match=r"odd\.parquet .* no column .*text"):
        next(read_batches(tmp_path / "odd.parquet"))
