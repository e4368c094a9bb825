from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from conf.schema.finetune import TuneConf
from tasks.finetune.examples import Examples, Row, next_tokens, order, read, shown, whole_texts, write
from tasks.formats.tokens import IGNORE

ROWS: list[Row] = [{"input_ids": [*range(1, n + 2)], "labels": [IGNORE] * n + [7]} for n in (3, 1, 4, 1, 5)]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=300), st.integers(1, 3), st.integers(1, 9))
def test_every_example_comes_once_in_each_epoch(lengths: list[int], epochs: int, batch_size: int) -> None:
    conf = TuneConf(epochs=epochs, batch_size=batch_size)
    assert sorted(order(lengths, conf)) == sorted([*range(len(lengths))] * epochs)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=100), st.integers(0, 3))
def test_the_order_is_a_pure_function_of_lengths_and_seed(lengths: list[int], seed: int) -> None:
    conf = TuneConf(seed=seed, batch_size=4)
    assert order(lengths, conf) == order(list(lengths), conf)


def test_another_seed_gives_another_order() -> None:
    assert order([1] * 50, TuneConf(seed=1)) != order([1] * 50, TuneConf(seed=2))


def test_batches_of_like_length_need_less_than_half_the_padding_of_random_ones() -> None:
    lengths = [7 * n % 61 + 1 for n in range(256)]

    def padding(indices: list[int]) -> int:
        rows = [indices[at : at + 8] for at in range(0, len(indices), 8)]
        return sum(max(lengths[i] for i in row) * len(row) for row in rows) - sum(lengths)

    assert padding(order(lengths, TuneConf(batch_size=8))) < padding(list(range(256))) / 2


def test_what_is_written_is_read(tmp_path: Path) -> None:
    rows: list[Row] = [
        {"input_ids": [1, 2], "labels": 1, "weight": 0.5},
        {"input_ids": [], "labels": 0, "weight": 1.5},
    ]
    for name, some in (("train", rows), ("valid", ROWS), ("none", [])):
        write(tmp_path, name, some)
        assert read(tmp_path, name) == some


@given(st.integers(1, 7), st.integers(1, 4))
def test_processes_share_each_batch_and_the_valid_part_without_loss_or_repeat(batch_size: int, world: int) -> None:
    data = Examples(ROWS, ROWS, next_tokens(0), batch_size)
    steps = -(-len(ROWS) // batch_size)
    shares = [[data.share(step, rank, world) for rank in range(world)] for step in range(steps)]
    for parts in (*shares, [data.held_out(rank, world) for rank in range(world)]):
        assert len({len(ids) for ids, _ in parts}) == 1, "equally many on each process"
    found = sorted(
        ids[row][labels[row] != IGNORE].tolist()
        for parts in shares
        for ids, labels in parts
        for row in range(len(ids))
        if (labels[row] != IGNORE).any()
    )
    assert found == sorted([row["input_ids"][-2]] for row in ROWS)


def test_labels_are_what_comes_next_and_padding_has_none() -> None:
    ids, labels = next_tokens(9)(ROWS[:2])
    assert ids.tolist() == [[1, 2, 3, 4], [1, 2, 9, 9]]
    assert labels.tolist() == [[IGNORE, IGNORE, 7, IGNORE], [7, IGNORE, IGNORE, IGNORE]]


def test_whole_texts_are_masked_where_they_are_filled_up() -> None:
    ids, mask, labels = whole_texts(9)([{"input_ids": [4, 5], "labels": 1}, {"input_ids": [6], "labels": 0}])
    assert ids.tolist() == [[4, 5], [6, 9]] and mask.tolist() == [[1, 1], [1, 0]]
    assert np.array_equal(labels, [1, 0])


def test_an_example_is_shown_with_what_carries_a_loss() -> None:
    row: Row = {"input_ids": [1, 2, 3, 4, 5, 6], "labels": [IGNORE, IGNORE, 3, 4, IGNORE, 6]}
    plain: Row = {"input_ids": [7] * 300, "labels": [IGNORE] * 300}
    first, second = shown([row, plain], lambda ids: "".join(chr(n + 96) for n in ids))
    assert first == "example 1, what carries a loss between « and »: 'ab«cd»e«f»'"
    assert second.endswith("'") and "g" * 300 in second
    (long,) = shown([{"input_ids": [10] * 900, "labels": [10] * 900}], lambda ids: "\n" * len(ids))
    assert "\n" not in long and long.endswith("(502 characters more)")
