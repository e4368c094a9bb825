from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.errors import ConfigError, DataError
from tasks.pretrain.batches import IGNORE, Order, Source, TokenFile, apportion, open_sources, permute
from tests.tasks.pretrain.conftest import EOS, write_shard


@given(size=st.integers(1, 3000), key=st.integers(0, 2**70))
def test_permute_hits_every_number_once(size: int, key: int) -> None:
    found = permute(np.arange(size, dtype=np.int64), size, key)
    assert np.array_equal(np.sort(found), np.arange(size))


def test_permute_depends_on_the_key_and_does_not_leave_the_order_as_it_was() -> None:
    numbers = np.arange(1000, dtype=np.int64)
    first, second = permute(numbers, 1000, 1), permute(numbers, 1000, 2)
    assert not np.array_equal(first, second)
    assert abs(np.corrcoef(numbers, first)[0, 1]) < 0.15


sizes = st.lists(st.integers(1, 60), min_size=1, max_size=3)


@given(
    sizes=sizes, world=st.sampled_from([1, 2, 4]), per_rank=st.integers(1, 5), seed=st.integers(0, 9), data=st.data()
)
def test_no_sequence_comes_twice_in_an_epoch_and_none_is_missed(
    sizes: list[int], world: int, per_rank: int, seed: int, data: st.DataObject
) -> None:
    size, batch = sizes[0], world * per_rank
    order = Order((size,), (batch,), seed, (0,))
    steps = -(-2 * size // batch)
    resume = data.draw(st.integers(0, steps))
    halves = (range(resume), range(resume, steps))
    # The second half is read by a new object, as after a resume.
    seen = [
        pick
        for half, reader in zip(halves, (order, Order((size,), (batch,), seed, (0,))), strict=True)
        for step in half
        for rank in range(world)
        for pick in reader.share(step, rank, world)
    ]
    for epoch in range(len(seen) // size):
        assert sorted(seen[epoch * size : (epoch + 1) * size]) == [(0, block) for block in range(size)]


@given(sizes=sizes, seed=st.integers(0, 9), step=st.integers(0, 200), scale=st.integers(1, 3))
def test_a_change_of_world_size_keeps_the_global_batches(sizes: list[int], seed: int, step: int, scale: int) -> None:
    order = Order(tuple(sizes), (4 * scale,) * len(sizes), seed, (0,) * len(sizes))
    for world in (1, 2, 4):
        joined = list(itertools.chain(*(order.share(step, rank, world) for rank in range(world))))
        assert joined == order.batch(step)


@settings(deadline=None, max_examples=40)
@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=12), seq_len=st.integers(2, 33))
def test_blocks_hold_every_token_once_and_labels_never_cross_documents(lengths: list[int], seq_len: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = TokenFile.open(write_shard(Path(folder) / "part", lengths))
        source = Source((file,), seq_len)
        ids, positions, labels = (array.ravel() for array in source.batch(range(source.blocks)))
        stream = np.asarray(file.tokens, np.int64)
        total = len(stream)
    assert np.array_equal(ids[:total], stream)
    assert np.array_equal(labels[: total - 1], stream[1:])
    assert (labels[total - 1 :] == IGNORE).all()
    # A position restarts exactly at a block's start and at the token that ends the document before.
    restarts = {end - 1 for end in np.cumsum(lengths)} | set(range(0, total, seq_len))
    assert {int(place) for place in np.flatnonzero(positions[:total] == 0)} == restarts
    running = np.flatnonzero(positions != 0)
    assert np.array_equal(positions[running], positions[running - 1] + 1)


def test_blocks_of_several_files_are_numbered_through(tmp_path: Path) -> None:
    files = [
        TokenFile.open(write_shard(tmp_path / str(n), [length], seed=n)) for n, length in enumerate((5, 0 + 9, 16))
    ]
    source = Source(tuple(files), 8)
    assert source.blocks == 1 + 2 + 2
    assert np.array_equal(source.block(3)[0], files[2].block(0, 8)[0])


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


def test_a_source_without_tokens_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'news' has no tokens"):
        open_sources({"news": [write_shard(tmp_path / "part", [])]}, 8)


@given(weights=st.dictionaries(st.text("abc", min_size=1, max_size=3), st.floats(0.2, 5), min_size=1, max_size=4))
def test_apportioned_sequences_add_up_and_follow_the_weights(weights: dict[str, float]) -> None:
    counts = apportion(weights, 400)
    assert sum(counts.values()) == 400
    for name, weight in weights.items():
        assert abs(counts[name] - 400 * weight / sum(weights.values())) < 1


def test_a_source_too_light_for_one_sequence_is_refused() -> None:
    with pytest.raises(ConfigError, match="raise batch_tokens"):
        apportion({"a": 1000.0, "b": 1.0}, 8)


def test_a_following_segment_goes_on_where_the_same_data_were_left() -> None:
    order = Order((50, 7), (3, 1), 5, (0, 0), ("a", "b"), 16)
    following = order.after(order.record(4))
    assert following.batch(0) == order.batch(4)
    assert Order((51, 7), (3, 1), 5, (0, 0), ("a", "b"), 16).after(order.record(4)).start == (0, 0)
