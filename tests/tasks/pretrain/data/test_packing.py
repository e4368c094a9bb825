from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.errors import DataError
from tasks.formats.tokens import IGNORE, TokenFile
from tasks.pretrain.data.batches import Source
from tasks.pretrain.data.packing import PACKINGS, Batch, BestFit, best_fit
from tests.tasks.pretrain.conftest import EOS, write_shard

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=12)


def everything(lengths: list[int], seq_len: int, packing: str) -> tuple[Batch, np.ndarray]:
    """All blocks of a file with documents of these lengths, and its tokens."""
    with tempfile.TemporaryDirectory() as folder:
        packed = PACKINGS[packing](TokenFile.open(write_shard(Path(folder) / "part", lengths)), seq_len)
        return packed.batch(np.arange(packed.count)), np.asarray(packed.file.tokens, np.int64)


@given(lengths=LENGTHS, seq_len=st.integers(2, 33))
def test_concatenated_blocks_hold_every_token_once_and_labels_never_cross_documents(
    lengths: list[int], seq_len: int
) -> None:
    batch, stream = everything(lengths, seq_len, "concat")
    ids, positions, labels = (array.ravel() for array in batch)
    total = len(stream)
    assert np.array_equal(ids[:total], stream)
    assert np.array_equal(labels[: total - 1], stream[1:])
    assert (labels[total - 1 :] == IGNORE).all()
    # A position restarts exactly at a block's start and at the token that ends the document before.
    restarts = {end - 1 for end in np.cumsum(lengths)} | set(range(0, total, seq_len))
    assert {int(place) for place in np.flatnonzero(positions[:total] == 0)} == restarts
    running = np.flatnonzero(positions != 0)
    assert np.array_equal(positions[running], positions[running - 1] + 1)


@given(lengths=LENGTHS, seq_len=st.integers(2, 33))
def test_best_fit_blocks_hold_every_token_as_a_label_once_and_cut_long_documents_only(
    lengths: list[int], seq_len: int
) -> None:
    (ids, positions, labels), stream = everything(lengths, seq_len, "best_fit")
    pieces = []
    for row in range(len(ids)):
        filled = int((labels[row] != IGNORE).sum())
        assert (labels[row, filled:] == IGNORE).all() and (positions[row, filled:] == 0).all(), "padding comes last"
        begins = [*np.flatnonzero(positions[row, :filled] == 0), filled]
        for begin, end in itertools.pairwise(begins):
            assert np.array_equal(positions[row, begin:end], np.arange(end - begin))
            assert np.array_equal(ids[row, begin + 1 : end], labels[row, begin : end - 1])
            pieces.append((int(ids[row, begin]), *labels[row, begin:end].tolist()))
    wanted, place = [], 0
    for length in lengths:
        for start in range(place, place + length, seq_len):
            before = EOS if start == place else int(stream[start - 1])
            wanted.append((before, *stream[start : min(start + seq_len, place + length)].tolist()))
        place += length
    assert sorted(pieces) == sorted(wanted)


@given(lengths=st.lists(st.integers(1, 20), max_size=60), spare=st.integers(0, 12))
def test_best_fit_is_what_putting_one_item_after_the_other_gives(lengths: list[int], spare: int) -> None:
    capacity = max(lengths, default=1) + spare
    bins, count = best_fit(np.array(lengths, np.int64), capacity)
    rooms: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [(room, number) for number, room in enumerate(rooms) if room >= length]
        if not fitting:
            rooms.append(capacity)
        number = min(fitting)[1] if fitting else len(rooms) - 1
        rooms[number] -= length
    loads = np.bincount(bins, weights=lengths, minlength=count).astype(int)
    assert sorted(loads.tolist()) == sorted(capacity - room for room in rooms)


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_file_without_documents_has_no_blocks(tmp_path: Path, packing: str) -> None:
    empty, full = (TokenFile.open(write_shard(tmp_path / str(n), [3] * n)) for n in (0, 2))
    assert PACKINGS[packing](empty, 8).count == 0
    found = Source((empty, full), 8, packing).batch([0])
    assert np.array_equal(found, Source((full,), 8, packing).batch([0]))


def test_an_item_larger_than_a_bin_is_refused() -> None:
    with pytest.raises(ValueError, match="from 1 to 4"):
        best_fit(np.array([3, 5]), 4)


def test_best_fit_leaves_little_padding(tmp_path: Path) -> None:
    lengths = np.random.default_rng(0).integers(2, 60, 500).tolist()
    packed = BestFit(TokenFile.open(write_shard(tmp_path / "part", lengths)), 64)
    assert sum(lengths) <= packed.count * 64 < 1.06 * sum(lengths), "a document to a block would take 500 blocks"


def test_a_truncated_token_file_is_a_data_error_naming_it(tmp_path: Path) -> None:
    folder = write_shard(tmp_path / "part", [9, 9])
    (folder / "tokens.bin").write_bytes((folder / "tokens.bin").read_bytes()[:-2])
    with pytest.raises(DataError, match=r"tokens\.bin has 34 bytes"):
        TokenFile.open(folder)


def test_a_document_without_its_end_is_a_data_error(tmp_path: Path) -> None:
    folder = write_shard(tmp_path / "part", [9, 9])
    tokens = np.fromfile(folder / "tokens.bin", "<u2")
    tokens[8] = EOS + 1
    tokens.tofile(folder / "tokens.bin")
    with pytest.raises(DataError, match="does not end"):
        TokenFile.open(folder)
