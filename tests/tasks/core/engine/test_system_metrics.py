"""Samples of the machine while a child runs."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from subprocess import Popen

from tasks.core.engine.system_metrics import Machine, Sampler, gpu_values


def test_samples_go_on_after_a_torn_row_without_a_gap_or_a_double(tmp_path: Path) -> None:
    file = tmp_path / "system.jsonl"
    file.write_bytes(b'{"step": 0, "time": 1.0}\n{"step": 1, "ti')
    with Sampler(file, every=0.01) as sampler:
        sampler.watch(os.getpid())
        while file.read_bytes().count(b"\n") < 4:
            time.sleep(0.01)
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(len(rows)))
    assert {name for name in rows[1] if name.startswith("system/")} >= {
        "system/cpu_utilization_percentage",
        "system/system_memory_usage_percentage",
        "system/process_memory_megabytes",
    }


def test_the_process_tree_is_counted_with_its_children() -> None:
    child = Popen([sys.executable, "-c", "x = b'x' * 60_000_000; print(flush=True); input()"], stdin=-1, stdout=-1)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        machine = Machine()
        alone = machine.sample(child.pid)["system/process_memory_megabytes"]
        assert machine.sample(os.getpid())["system/process_memory_megabytes"] > alone > 50
    finally:
        child.kill()
        child.communicate()


def test_a_process_that_is_gone_leaves_the_machine_s_own_figures() -> None:
    child = Popen([sys.executable, "-c", ""])
    child.wait()
    found = Machine().sample(child.pid)
    assert "system/cpu_utilization_percentage" in found
    assert "system/process_memory_megabytes" not in found


def test_a_card_that_does_not_tell_its_power_still_tells_the_rest() -> None:
    assert dict(gpu_values("0, 35, 2000, 8000, [N/A], 61")) == {
        "gpu_0_utilization_percentage": 35.0,
        "gpu_0_memory_usage_megabytes": 2000.0,
        "gpu_0_temperature_celsius": 61.0,
        "gpu_0_memory_usage_percentage": 25.0,
    }
