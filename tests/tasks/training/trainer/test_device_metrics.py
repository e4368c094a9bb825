from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from tasks.training.trainer.device_metrics import DeviceMetrics, asked
from tests.preloaded import Preloaded

CPU = torch.device("cpu")


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{value}\n")


def test_memory_grows_with_what_is_held_and_what_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    gauges = DeviceMetrics(CPU, tmp_path)
    before = gauges.read()
    assert set(before) == {"memory_peak_gb"}
    held = torch.ones(int(before["memory_peak_gb"] * 1e9 / 4) + 10_000_000)
    assert gauges.read()["memory_peak_gb"] > before["memory_peak_gb"]
    assert held.numel()


def test_the_hottest_sensor_of_the_processor_counts_and_no_others(tmp_path: Path) -> None:
    for number, (kind, heat) in enumerate((("x86_pkg_temp", 61000), ("cpu-thermal", 48500), ("iwlwifi", 90000))):
        write(tmp_path / "thermal" / f"thermal_zone{number}" / "type", kind)
        write(tmp_path / "thermal" / f"thermal_zone{number}" / "temp", heat)
    assert DeviceMetrics(CPU, tmp_path).read()["temperature_c"] == 61.0


def test_power_is_energy_over_time_though_a_counter_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, energy in (("intel-rapl:0", 900_000), ("intel-rapl:1", 0), ("intel-rapl:0:0", 0)):
        write(tmp_path / "powercap" / name / "energy_uj", energy)
        write(tmp_path / "powercap" / name / "max_energy_range_uj", 1_000_000)
    clock = iter((100.0, 102.0))
    monkeypatch.setattr("tasks.training.trainer.device_metrics.time.monotonic", lambda: next(clock))
    gauges = DeviceMetrics(CPU, tmp_path)
    for name, energy in (("intel-rapl:0", 100_000), ("intel-rapl:1", 3_000_000), ("intel-rapl:0:0", 70_000_000)):
        write(tmp_path / "powercap" / name / "energy_uj", energy)
    assert gauges.read()["power_w"] == pytest.approx((0.2 + 3.0) / 2)


def test_a_gauge_that_is_not_there_says_nothing() -> None:
    assert asked(lambda: torch.cuda.temperature(CPU)) is None
    assert asked(lambda: 3) == 3.0


def test_the_process_that_has_most_counts_whichever_asks(loaded: Preloaded, tmp_path: Path) -> None:
    code = (
        "import sys, torch, torch.distributed as dist\n"
        "from tasks.training.trainer.device_metrics import DeviceMetrics\n"
        f"rendezvous = 'file://{tmp_path}/rendezvous'; rank = int(sys.argv[1])\n"
        "dist.init_process_group('gloo', init_method=rendezvous, rank=rank, world_size=2)\n"
        "gauges = DeviceMetrics(torch.device('cpu')); own = {'memory_peak_gb': 1 + rank}\n"
        "gauges.read = lambda: own | ({'power_w': 7} if own['memory_peak_gb'] == 1 else {})\n"
        "print(sorted(gauges.most().items())); dist.destroy_process_group()"
    )
    out, errors = [tmp_path / f"out-{n}" for n in range(2)], [tmp_path / f"errors-{n}" for n in range(2)]
    pair = [loaded.start(["-c", code, str(n)], dict(os.environ), out[n], errors[n]) for n in range(2)]
    assert [process.wait() for process in pair] == [0, 0], [path.read_text() for path in errors]
    assert [path.read_text() for path in out] == ["[('memory_peak_gb', 2.0), ('power_w', 7.0)]\n"] * 2
