"""What a step's child uses while it runs: rows for MLflow's page of system metrics, under the names that it expects."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

EVERY = 5.0
"""Seconds between samples; the first comes after one, so that a short step has one too."""
QUERY = "index,utilization.gpu,memory.used,memory.total,power.draw,temperature.gpu"
MB = 1e6
_log = logging.getLogger(__name__)


class Sampler:
    """Samples this machine and one process tree into a file, a row each, while it is entered.

    The rows go on where an earlier attempt left off, so that each step of a curve is there once.
    """

    def __init__(self, file: Path, every: float = EVERY) -> None:
        self.file, self.every = file, every
        self._pid: int | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="system-metrics", daemon=True)

    def watch(self, pid: int) -> None:
        """Take in the process tree under `pid`, from the next sample on."""
        self._pid = pid

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _serve(self) -> None:
        try:
            machine, step, pause = Machine(), _rows_in(self.file), min(1.0, self.every)
            while not self._ended.wait(pause):
                row = {"step": step, "time": time.time(), **machine.sample(self._pid)}
                with self.file.open("ab") as file:
                    file.write(json.dumps(row).encode() + b"\n")
                step, pause = step + 1, self.every
        except Exception:
            _log.warning("system metrics are not sampled any more", exc_info=True)


class Machine:
    """Processor, memory, disk, network and GPUs now; what is counted per second is counted since the last sample."""

    def __init__(self) -> None:
        import psutil

        self._ps: Any = psutil
        self._ps.cpu_percent()
        network = self._ps.net_io_counters()
        self._network = (network.bytes_recv, network.bytes_sent) if network else None
        self._smi = shutil.which("nvidia-smi")
        self._seen: dict[int, Any] = {}

    def sample(self, pid: int | None) -> dict[str, float]:
        """Values by name; `pid` is the root of the process tree whose share is shown too."""
        memory, disk = self._ps.virtual_memory(), self._ps.disk_usage("/")
        values = {
            "cpu_utilization_percentage": self._ps.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / MB,
            "system_memory_usage_percentage": memory.percent,
            "disk_usage_percentage": disk.percent,
            "disk_available_megabytes": disk.free / MB,
        }
        if self._network is not None:
            network = self._ps.net_io_counters()
            values["network_receive_megabytes"] = (network.bytes_recv - self._network[0]) / MB
            values["network_transmit_megabytes"] = (network.bytes_sent - self._network[1]) / MB
        values |= self._tree(pid) | dict(self._gpus())
        return {f"system/{name}": round(float(value), 3) for name, value in values.items()}

    def _tree(self, pid: int | None) -> dict[str, float]:
        """Resident memory and processor share (100 is one core) of a process and all below it."""
        if pid is None:
            return {}
        with suppress(self._ps.NoSuchProcess):
            root = self._seen.get(pid) or self._ps.Process(pid)
            found = {p.pid: self._seen.get(p.pid, p) for p in (root, *root.children(recursive=True))}
            self._seen, memory, processor = found, 0, 0.0
            for process in found.values():
                with suppress(self._ps.NoSuchProcess, self._ps.AccessDenied):
                    memory, processor = memory + process.memory_info().rss, processor + process.cpu_percent()
            return {"process_memory_megabytes": memory / MB, "process_cpu_percentage": processor}
        return {}

    def _gpus(self) -> Iterator[tuple[str, float]]:
        if self._smi is None:
            return
        command = [self._smi, f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"]
        try:
            rows = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True).stdout.splitlines()
        except (OSError, subprocess.SubprocessError) as error:
            _log.warning("nvidia-smi does not answer, GPUs are not sampled any more: %s", error)
            self._smi = None
            return
        yield from (value for row in rows for value in gpu_values(row))


def gpu_values(row: str) -> Iterator[tuple[str, float]]:
    """Values by name from a row of nvidia-smi (`QUERY`); what a card does not tell is left out."""
    index, busy, used, total, power, heat = (cell.strip() for cell in row.split(","))
    named = {"utilization_percentage": busy, "memory_usage_megabytes": used, "power_usage_watts": power}
    named["temperature_celsius"] = heat
    for name, cell in named.items():
        with suppress(ValueError):
            yield f"gpu_{index}_{name}", float(cell)
    with suppress(ValueError, ZeroDivisionError):
        yield f"gpu_{index}_memory_usage_percentage", 100 * float(used) / float(total)


def _rows_in(file: Path) -> int:
    """Whole rows that are there; a torn last one is cut off."""
    if not file.exists():
        return 0
    data = file.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) != len(data):
        file.write_bytes(whole)
    return whole.count(b"\n")
