from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.clean.columns import ID, Column, Ids, Partitions, find, from_hex, heads, to_hex
from tasks.core.errors import DataError

IDS = st.lists(st.binary(min_size=16, max_size=16), max_size=20)


def array(ids: list[bytes]) -> Ids:
    return np.frombuffer(b"".join(ids), ID)


@given(ids=IDS)
def test_ids_read_back_and_have_the_order_of_their_digits(ids: list[bytes]) -> None:
    digits = [id_.hex() for id_ in ids]
    assert to_hex(array(ids)).to_list() == digits
    assert from_hex(pa.array(digits, pa.string()), Path("here")).tobytes() == b"".join(ids)
    assert to_hex(np.sort(array(ids))).to_list() == sorted(digits)
    assert to_hex(array(ids)[np.argsort(heads(array(ids)), kind="stable")]).str.slice(0, 8).is_sorted()


def test_a_slice_of_a_column_is_read_by_itself() -> None:
    digits = [f"{n:032x}" for n in range(9)]
    assert to_hex(from_hex(pa.array(digits)[3:7], Path("here"))).to_list() == digits[3:7]


@pytest.mark.parametrize("wrong", ["ab", "g" * 32, "a" * 33, "ä" * 16, " " * 32, "A" * 32, None])
def test_what_is_no_id_is_refused(wrong: str | None) -> None:
    with pytest.raises(DataError, match=r"somewhere: an id or a hash in it is not 32 lower-case hex digits"):
        from_hex(pa.array(["0" * 32, wrong], pa.string()), Path("somewhere"))


@given(ids=IDS, wanted=IDS)
def test_what_is_found_among_ordered_ids_is_there(ids: list[bytes], wanted: list[bytes]) -> None:
    ordered = np.unique(array(ids))
    places, there = find(ordered, array([*wanted, *ids]))
    assert there.tolist() == [id_ in set(ids) for id_ in [*wanted, *ids]]
    assert (ordered[places[there]] == array([*wanted, *ids])[there]).all()


def test_rows_are_read_by_number_in_any_order(tmp_path: Path) -> None:
    column = Column(tmp_path / "squares", [("n", "<u4"), ("squares", "<u8", 2)])
    assert not len(column.read()) and not len(column.take(np.empty(0, np.int64)))
    for first in (0, 1500):
        numbers = np.arange(first, first + 1500)
        column.append(n=numbers, squares=np.stack([numbers, numbers**2], axis=1))
    order = np.random.default_rng(0).integers(0, 3000, 5000)
    assert (column.take(order)["squares"][:, 1] == order**2).all()
    assert column.read(1499, 2)["n"].tolist() == [1499, 1500]


def test_rows_stay_in_their_order_within_the_files_that_they_are_divided_among(tmp_path: Path) -> None:
    parts = Partitions(tmp_path / "part", [("head", "<u4"), ("n", "<u4")], 5)
    chance = np.random.default_rng(0)
    head = chance.integers(0, 2**32, 1000, dtype=np.uint32)
    for first in range(0, 1000, 100):
        some = slice(first, first + 100)
        parts.append(head[some], head=head[some], n=np.arange(1000)[some])
    files = list(parts.drain())
    assert all((np.diff(rows["n"].astype(np.int64)) > 0).all() for rows in files)
    assert pl.Series(np.concatenate([rows["head"] // (2**32 / 5) for rows in files])).is_sorted()
    assert sorted(np.concatenate([rows["n"] for rows in files])) == list(range(1000))
    assert not list(tmp_path.iterdir()), "what was read is removed"
