"""The GPUs of this machine, asked without torch: a plan has no time for it."""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import NamedTuple

DRIVERS = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")
QUERY = "index,uuid,name,memory.total,compute_cap"
VISIBLE = "CUDA_VISIBLE_DEVICES"


class Gpu(NamedTuple):
    """One device, as its driver names it."""

    name: str
    memory_gb: float
    number: int = 0
    """The driver's, which programs call its index."""
    uuid: str = ""
    """The driver's name for this one device."""
    capability: float | None = None
    """NVIDIA's compute capability; None where it is not told."""


def shows_a_gpu() -> bool:
    """Whether an NVIDIA or ROCm driver shows a device, asked of the file system."""
    return os.environ.get(VISIBLE, "all") not in ("", "-1") and any(Path(path).exists() for path in DRIVERS)


@cache
def gpus() -> tuple[Gpu, ...]:
    """The GPUs that this process may use (CUDA_VISIBLE_DEVICES), as nvidia-smi has them; none where that is missing or
    does not answer."""
    smi = shutil.which("nvidia-smi") if shows_a_gpu() else None
    if smi is None:
        return ()
    command = [smi, f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"]
    try:
        rows = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    return visible(read(rows), os.environ.get(VISIBLE))


def read(rows: str) -> tuple[Gpu, ...]:
    """The devices in nvidia-smi's rows, whose memory is in MiB; a row without numbers is none."""
    found = []
    for row in rows.splitlines():
        if row.count(",") < 4:
            continue
        index, uuid, name, memory, capability = (field.strip() for field in row.rsplit(",", 4))
        if index.isdigit() and memory.isdigit():
            known = float(capability) if capability.replace(".", "", 1).isdigit() else None
            found.append(Gpu(name, int(memory) * 2**20 / 1e9, int(index), uuid, known))
    return tuple(found)


def visible(found: tuple[Gpu, ...], chosen: str | None) -> tuple[Gpu, ...]:
    """Those that CUDA_VISIBLE_DEVICES lets through, by index or by (the start of) a name, in its order."""
    if chosen is None:
        return found
    words = [word.strip() for word in chosen.split(",")]
    return tuple(gpu for word in words if word for gpu in found if word == str(gpu.number) or gpu.uuid.startswith(word))
