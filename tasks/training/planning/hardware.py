"""What this machine trains with: peak rates of devices, memory."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tasks.core.devices import Gpu, gpus, shows_a_gpu

PEAK_TFLOPS: dict[str, float] = {
    "A10": 125, "A100": 312, "L4": 121, "L40S": 362, "H100 NVL": 835, "H100 PCIe": 756, "H100": 989, "H200": 989,
    "GH200": 989, "B200": 2250, "MI250X": 191.5, "MI300X": 1300, "MI325X": 1300, "MI355X": 2500,
}  # fmt: skip
"""Dense bf16 matrix products at best, by a part of the device's name (torchtitan's `get_peak_flops`; for A10, L4 and
GH200 NVIDIA's data sheets, halved where those count with sparsity)."""


def peak_flops(name: str) -> float | None:
    """FLOPs per second in bf16 of the device with this name at best; None for one that is not known here."""
    found = [part for part in PEAK_TFLOPS if re.search(rf"\b{part}\b", name)]
    return 1e12 * PEAK_TFLOPS[max(found, key=len)] if found else None


def on_cpu(device: str) -> bool:
    """Whether training runs on the CPU: asked for, or `auto` where there is no GPU."""
    return device == "cpu" or (device == "auto" and not shows_a_gpu())


def first_gpu() -> Gpu | None:
    """This machine's first GPU; None where there is none, or its driver does not answer."""
    return next(iter(gpus()), None)


def host_memory_gb() -> float:
    """Memory that this process may use in all, in GB: the container's limit or the machine's."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _bytes_in(Path("/sys/fs/cgroup/memory.max"))
    return (total if limit is None else min(total, limit)) / 1e9


def free_memory_gb() -> float:
    """Memory that is not taken, in GB: of the machine and of the container, whichever has less; all of it where the
    system does not say."""
    told = Path("/proc/meminfo").read_text() if Path("/proc/meminfo").exists() else ""
    kibibytes = re.search(r"^MemAvailable:\s+(\d+) kB", told, re.M)
    free = int(kibibytes[1]) * 1024 if kibibytes else int(host_memory_gb() * 1e9)
    limit, taken = (_bytes_in(Path("/sys/fs/cgroup") / f"memory.{name}") for name in ("max", "current"))
    return (free if limit is None or taken is None else min(free, limit - taken)) / 1e9


def _bytes_in(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
