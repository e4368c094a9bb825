from __future__ import annotations

import itertools
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.errors import DataError
from tasks.formats.tokens import TokenFile
from tasks.pretrain.data.batches import Order, Passes, Source, open_sources, padding, permute
from tests.tasks.pretrain.conftest import write_shard


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
        for pick in reader.share([step], rank, world)
    ]
    for epoch in range(len(seen) // size):
        assert sorted(seen[epoch * size : (epoch + 1) * size]) == [(0, block) for block in range(size)]


@given(sizes=sizes, seed=st.integers(0, 9), step=st.integers(0, 200), scale=st.integers(1, 3))
def test_a_change_of_world_size_keeps_the_global_batches(sizes: list[int], seed: int, step: int, scale: int) -> None:
    order = Order(tuple(sizes), (4 * scale,) * len(sizes), seed, (0,) * len(sizes))
    for world in (1, 2, 4):
        joined = list(itertools.chain(*(order.share([step], rank, world) for rank in range(world))))
        assert joined == order.batch(step)


def test_blocks_of_several_files_are_numbered_through(tmp_path: Path) -> None:
    files = [
        TokenFile.open(write_shard(tmp_path / str(n), [length], seed=n)) for n, length in enumerate((5, 0 + 9, 16))
    ]
    source = Source(tuple(files), 8)
    assert source.blocks == 1 + 2 + 2
    for mixed, alone in zip(source.batch([3, 0, 4]), Source((files[2],), 8).batch([0, 0, 1]), strict=True):
        assert np.array_equal(mixed[[0, 2]], alone[[0, 2]])
    assert padding([source]) == 1 - 30 / 40


@given(lengths=st.lists(st.integers(1, 40), min_size=1, max_size=12), seq_len=st.integers(2, 33), data=st.data())
def test_a_batch_is_its_blocks_one_by_one(lengths: list[int], seq_len: int, data: st.DataObject) -> None:
    packing = data.draw(st.sampled_from(["concat", "best_fit"]))
    with tempfile.TemporaryDirectory() as folder:
        shards = [write_shard(Path(folder) / str(n), lengths[n:], seed=n) for n in range(min(2, len(lengths)))]
        source = Source(tuple(map(TokenFile.open, shards)), seq_len, packing)
        numbers = data.draw(st.lists(st.integers(0, source.blocks - 1), min_size=1, max_size=9))
        together = source.batch(numbers)
        alone = [source.batch([number]) for number in numbers]
    for which in range(3):
        assert np.array_equal(together[which], np.concatenate([one[which] for one in alone]))


def test_a_source_without_tokens_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'news' has no tokens"):
        open_sources({"news": [write_shard(tmp_path / "part", [])]}, 8)


@given(sizes=sizes, batch=st.integers(1, 12), seed=st.integers(0, 9), world=st.sampled_from([1, 2, 3]), data=st.data())
def test_a_mixture_that_no_batch_can_meet_is_read_the_same_after_a_resume_at_any_step(
    sizes: list[int], batch: int, seed: int, world: int, data: st.DataObject
) -> None:
    counts = tuple(data.draw(st.integers(1, 40)) for _ in sizes)
    names, steps, batch = tuple("abc"[: len(sizes)]), 40, batch * world
    order = Order(tuple(sizes), counts, seed, (0,) * len(sizes), names, 8, sequences=batch)
    whole = [order.batch(step) for step in range(steps)]
    resume = data.draw(st.integers(0, steps))
    first, again = order.walk(resume, steps - resume + 1)
    assert [list(zip(*row, strict=True)) for row in zip(first.tolist(), again.tolist(), strict=True)][:-1] == (
        whole[resume:]
    )
    shared = [[pick for rank in range(world) for pick in order.share([step], rank, world)] for step in range(steps)]
    assert shared == whole
    for source, size in enumerate(sizes):
        read = [block for picks in whole for which, block in picks if which == source]
        assert order.record(steps)["taken"][names[source]] == len(read)
        for epoch in range(len(read) // size):
            assert sorted(read[epoch * size : (epoch + 1) * size]) == list(range(size))


def test_a_following_segment_goes_on_where_the_same_data_were_left() -> None:
    order = Order((50, 7), (3, 1), 5, (0, 0), ("a", "b"), 16)
    following = order.after(order.record(4))
    assert following.batch(0) == order.batch(4)
    assert Order((51, 7), (3, 1), 5, (0, 0), ("a", "b"), 16).after(order.record(4)).start == (0, 0)
    repacked = Order((50, 7), (3, 1), 5, (0, 0), ("a", "b"), 16, "best_fit")
    assert repacked.after(order.record(4)).start == (0, 0), "the same numbers of other blocks"


@given(
    sizes=sizes, world=st.sampled_from([1, 2, 4]), per_rank=st.integers(1, 5), seed=st.integers(0, 9), data=st.data()
)
def test_each_block_is_read_as_often_as_its_source_is_asked_for(
    sizes: list[int], world: int, per_rank: int, seed: int, data: st.DataObject
) -> None:
    counts = tuple(data.draw(st.integers(1, 3 * size)) for size in sizes)
    names, batch = tuple("abc"[: len(sizes)]), world * per_rank
    order = Passes(tuple(sizes), counts, seed, (0,), names, 8, sequences=batch)
    steps = -(-order.total // batch)
    resume = data.draw(st.integers(0, steps))
    later = Passes(tuple(sizes), counts, seed, (0,), names, 8, sequences=batch).after(order.record(resume))
    assert later.start == (resume * batch,)
    read = [order.share([step], rank, world) for step in range(resume) for rank in range(world)]
    read += [later.share([step], rank, world) for step in range(steps - resume) for rank in range(world)]
    seen = Counter(list(itertools.chain(*read))[: order.total])
    for source, (size, count) in enumerate(zip(sizes, counts, strict=True)):
        times = [seen[source, block] for block in range(size)]
        assert sum(times) == count and max(times) - min(times) <= 1


def test_passes_go_on_only_after_the_same_passes() -> None:
    passes = Passes((50, 7), (100, 3), 5, (0,), ("a", "b"), 16, sequences=4)
    assert passes.after(passes.record(4)).batch(0) == passes.batch(4)
    order = Order((50, 7), (3, 1), 5, (0, 0), ("a", "b"), 16)
    assert order.after(passes.record(4)).start == (0, 0) and passes.after(order.record(4)).start == (0,)
    assert replace(passes, counts=(50, 7)).after(passes.record(4)).start == (0,)


@pytest.mark.parametrize("packing", ["concat", "best_fit"])
def test_a_document_in_several_passes_is_read_as_often_in_an_epoch_and_never_twice_in_a_block(
    tmp_path: Path, packing: str
) -> None:
    times = {document: 1 + document % 4 for document in range(1, 31)}
    folders = []
    for number in range(1, 5):
        chosen = [document for document, often in times.items() if often >= number]
        folder = write_shard(tmp_path / str(number), [2 + document % 7 for document in chosen])
        # Each begins with a token of its own, goes on with 40 and ends with eos.
        np.concatenate([[n, *[40] * (n % 7), 0] for n in chosen]).astype("<u2").tofile(folder / "tokens.bin")
        folders.append(folder)
    source = open_sources({"all": folders}, 16, packing)["all"]
    order = Order((source.blocks,), (1,), 5, (0,))
    for epoch in range(2):
        seen: Counter[int] = Counter()
        for step in range(epoch * source.blocks, (epoch + 1) * source.blocks):
            ids = source.batch([block for _, block in order.batch(step)])[0]
            here = Counter(ids[(ids > 0) & (ids < 40)].tolist())
            assert not here or max(here.values()) == 1
            seen += here
        assert seen == Counter(times)
