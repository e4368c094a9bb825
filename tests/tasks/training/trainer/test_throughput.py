from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from conf.schema.pretrain import SegmentConf
from tasks.training.network.device import Place
from tasks.training.trainer.throughput import Meter, line, progress_event

SEGMENT = SegmentConf(tokens=20_000, batch_tokens=1000, seq_len=100)
ROW = {
    "loss": 5.0944, "grad_norm": 0.63, "learning_rate": 2.89e-3, "tokens_per_second": 19_080.0, "data_wait": 0.004,
    "checkpoint_stall": 0.021, "memory_peak_gb": 1.21, "seconds_left": 10.2,
}  # fmt: skip


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be set."""
    now = [100.0]
    monkeypatch.setattr("tasks.training.trainer.throughput.time.monotonic", lambda: now[0])
    return now


def meter(world: int = 1, flops: int | None = 6_000_000) -> Meter:
    cpu = {"device": torch.device("cpu"), "precision": torch.float32, "fp8": False, "compile": False}
    place = Place(rank=0, world=world, deterministic=True, parallel="ddp", shards=world, tensor=1, **cpu)
    return Meter(SEGMENT, place, flops, step=4)


def spend(clock: list[float], seconds: float, how: Callable[[], Any]) -> None:
    with how():
        clock[0] += seconds


def test_a_row_tells_what_became_of_the_time_since_the_row_before(clock: list[float]) -> None:
    found = meter(world=2)
    spend(clock, 1.0, found.waiting)
    spend(clock, 2.0, found.stalling)
    clock[0] = 110.0
    row = found.read(14, 20)
    assert row["tokens"] == 14_000 and row["tokens_per_second"] == 1000
    assert row["tokens_per_second_per_device"] == 500 and row["seconds_left"] == 6
    assert row["data_wait"] == 0.1 and row["checkpoint_stall"] == 0.2
    clock[0] = 112.0
    row = found.read(16, 20)
    assert row["data_wait"] == row["checkpoint_stall"] == 0 and row["tokens_per_second"] == 1000


def test_time_for_validation_and_samples_is_not_in_the_speed_but_in_the_time_that_is_left(clock: list[float]) -> None:
    found = meter()
    clock[0] = 110.0
    spend(clock, 5.0, found.aside)
    row = found.read(14, 20)
    assert row["tokens_per_second"] == 1000 and row["seconds_left"] == 6 + 3
    clock[0] += 5.0
    row = found.read(19, 20)
    assert row["tokens_per_second"] == 1000
    assert row["seconds_left"] == pytest.approx(1 + 5 / 15), "5 seconds in the 15 steps that this process has done"


def test_utilisation_is_of_all_devices_and_unknown_on_cpus(clock: list[float]) -> None:
    found = meter(world=2)
    clock[0] = 110.0
    assert found.utilisation(1000) is None and "mfu" not in found.read(14, 20)
    found.peak = 1e12
    assert found.utilisation(100_000) == pytest.approx(0.3)
    assert meter(flops=None).utilisation(1000) is None


def test_the_line_leaves_out_what_is_not_there_and_what_is_not_worth_saying() -> None:
    plain = line(300, 488, ROW)
    assert plain == (
        "step 300/488  loss 5.0944  19,080 tokens/s  lr 2.89e-03  norm 0.63  saving 2 %  1.2 GB  left 10 s"
    )
    full = ROW | {"valid_loss": 5.2, "valid_bits_per_byte": 2.0912, "mfu": 0.414, "temperature_c": 61.0, "power_w": 650}
    assert "valid 5.2000  2.091 bits/byte  19,080 tokens/s  mfu 41 %" in line(300, 488, full)
    assert "61 °C  650 W  left 10 s" in line(300, 488, full)


def test_the_line_says_a_time_of_over_a_day_in_days() -> None:
    assert line(300, 488, ROW | {"seconds_left": 97_300.0}).endswith("left 1 d 3 h")


def test_the_event_shows_loss_speed_and_utilisation() -> None:
    told = progress_event(300, 488, ROW | {"valid_loss": 5.2, "valid_bits_per_byte": 2.0912, "mfu": 0.414})
    assert (told.done, told.total, told.left, told.rate) == (300, 488, ROW["seconds_left"], 188 / ROW["seconds_left"])
    assert told.said == "step 300/488  19,080 tokens/s  2.091 bits/byte  loss 5.0944  mfu 41 %"
