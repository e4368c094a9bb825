"""What the machine tells while a process trains: its memory, heat and power."""

from __future__ import annotations

import math
import re
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
import torch.distributed as dist

SYSTEM = Path("/sys/class")
NAMES = ("memory_peak_gb", "temperature_c", "power_w")


class DeviceMetrics:
    """What is measured of the device that this process computes on; of a CPU all of the machine, but for memory.

    What cannot be read is left out: heat and power of a CPU are often not shown in a container, those of a GPU need
    nvidia-ml-py (or amdsmi) beside torch.
    """

    def __init__(self, device: torch.device, system: Path = SYSTEM) -> None:
        self.device, self.system = device, system
        self._energy: tuple[float, dict[Path, int]] | None = None
        self._power()

    def read(self) -> dict[str, float]:
        """memory_peak_gb since the process began, temperature_c now, power_w (of a CPU since the last reading)."""
        on_gpu = self.device.type == "cuda"
        found: dict[str, float | None] = {
            "memory_peak_gb": self._peak(),
            "temperature_c": asked(lambda: torch.cuda.temperature(self.device)) if on_gpu else self._temperature(),
            "power_w": asked(lambda: torch.cuda.power_draw(self.device) / 1000) if on_gpu else self._power(),
        }
        return {name: round(value, 3) for name, value in found.items() if value is not None}

    def most(self) -> dict[str, float]:
        """As `read`, each of the process that has most; all processes of the group ask together."""
        found = self.read()
        if not dist.is_initialized() or dist.get_world_size() == 1:
            return found
        values = torch.tensor([found.get(name, -math.inf) for name in NAMES], device=self.device)
        dist.all_reduce(values, dist.ReduceOp.MAX)
        return {name: value for name, value in zip(NAMES, values.tolist(), strict=True) if math.isfinite(value)}

    def _peak(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 1e9
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9

    def _temperature(self) -> float | None:
        """The hottest of the processor's sensors, in °C."""
        found = []
        for zone in (self.system / "thermal").glob("thermal_zone*"):
            with suppress(OSError, ValueError):
                if re.search("cpu|pkg|core|soc", (zone / "type").read_text().lower()):
                    found.append(int((zone / "temp").read_text()) / 1000)
        return max(found, default=None)

    def _power(self) -> float | None:
        """Watts of all processors since the last call, by their counters of energy (RAPL, often for root only)."""
        now, counts, joules = time.monotonic(), dict[Path, int](), 0.0
        for package in (self.system / "powercap").glob("intel-rapl:[0-9]*"):
            with suppress(OSError, ValueError):
                if package.name.count(":") == 1:  # parts of a package have one more
                    counts[package] = int((package / "energy_uj").read_text())
        before, self._energy = self._energy, (now, counts)
        if before is None or not counts or before[1].keys() != counts.keys() or now <= before[0]:
            return None
        for package, count in counts.items():
            if (used := count - before[1][package]) < 0:  # the counter has begun anew
                used += int((package / "max_energy_range_uj").read_text())
            joules += used / 1e6
        return joules / (now - before[0])


def asked(gauge: Callable[[], float]) -> float | None:
    """What a GPU's gauge says; None where it or the library that reads it is not there."""
    try:
        return float(gauge())
    except Exception:  # each driver library has errors of its own, and none of them may end training
        return None
