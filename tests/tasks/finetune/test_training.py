from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conf.schema.finetune import FinetuneRun, TuneConf
from tasks.core.errors import ConfigError
from tasks.finetune.training import order, settle


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


def test_asking_for_a_gpu_where_there_is_none_is_a_config_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"run\.device"):
        settle(TuneConf(run=FinetuneRun(device="cuda")))
