"""GPUs as slots: each is given to one body at a time, by its index, on this machine and across all runs on it.

A slot is an flock on a file that all of this machine's runs know, inherited by the body: it is free the moment run and
body are gone.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tasks.core.devices import VISIBLE, Gpu, gpus
from tasks.core.errors import HostError, Transient
from tasks.core.step import Resources
from tasks.core.store.lease import Lease, stopping

PRETENDED = "FROMZERO_FAKE_DEVICES"
"""Says of a worker's machine how many it pretends to have."""
FOLDER = "FROMZERO_DEVICES"
"""Names the folder of the slots' files, for runs in containers that share GPUs: it has to be one for all of them."""
LOOK_EVERY = 0.5
"""Seconds between looks for free devices."""
OF_ONE_BODY = (VISIBLE, "CUDA_DEVICE_ORDER")
"""Variables by which a body is told its devices; libraries read them when they first use one."""
PRETENDED_GB = 1.0
"""Memory of a device that is only pretended to be there."""


@dataclass(frozen=True)
class Taken:
    """The devices that a body was given."""

    gpus: tuple[Gpu, ...]
    fds: tuple[int, ...]
    """Descriptors that keep them while any process has them open."""
    environ: dict[str, str]
    """What lets the body see these devices and no other."""


class WithDevices:
    """A lease together with devices: whoever inherits its descriptors keeps both."""

    def __init__(self, lease: Lease, taken: Taken) -> None:
        self._lease, self._taken = lease, taken
        self.epoch = lease.epoch

    @property
    def fds(self) -> tuple[int, ...]:
        return (*self._lease.fds, *self._taken.fds)

    def held(self) -> bool:
        return self._lease.held()

    def release(self) -> None:
        """The lease is given back by whoever took it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None


def pretended(count: int) -> tuple[Gpu, ...]:
    """Devices that are not there, for machines that have none: slots like any other."""
    return tuple(Gpu("pretended", PRETENDED_GB, index, f"pretended-{index}") for index in range(count))


class DeviceSlots:
    """The GPUs of this machine, for bodies that run on it."""

    def __init__(self, fake: int = 0) -> None:
        """With `fake`, so many pretended devices in place of those that are there."""
        self._fake = fake or int(os.environ.get(PRETENDED, "0"))

    @property
    def all(self) -> tuple[Gpu, ...]:
        """The devices that there are."""
        return pretended(self._fake) if self._fake else gpus()

    def check(self, label: str, wanted: Resources) -> None:
        """Raise `HostError` if a step asks for devices that this machine does not have."""
        fit = self._fit(wanted)
        if not wanted.gpu_must or len(fit) >= wanted.gpu:
            return
        least = f" with {wanted.gpu_memory_gb:g} GB" if wanted.gpu_memory_gb else ""
        raise HostError(
            f"{label} asks for {wanted.gpu} GPU{'s' * (wanted.gpu != 1)}{least}, and this machine shows {len(fit)}: "
            "ask for fewer in its resources, let its device be cpu, or name a place that has them (engine.places.gpu)"
        )

    @contextmanager
    def take(self, label: str, wanted: Resources, waits: Callable[[str], None]) -> Iterator[Taken]:
        """Hold devices while inside, waiting until enough are free; `waits` is told once if it has to wait.

        A step that does with none gets what there is. Raises `HostError` as `check`, `Transient` when the run stops.
        """
        self.check(label, wanted)
        fit = self._fit(wanted)
        count = min(wanted.gpu, len(fit))
        if not self.all:
            yield Taken((), (), {})
            return
        told = False
        while (held := _try(fit, count, fcntl.LOCK_SH if wanted.share_gpu else fcntl.LOCK_EX)) is None:
            if not told:
                waits(f"waits for {count} of {len(fit)} GPUs: other steps or runs have them")
                told = True
            if stopping.wait(LOOK_EVERY):
                raise Transient("the run is stopping")
        try:
            chosen = tuple(gpu for gpu, _ in held)
            indices = ",".join(str(gpu.number) for gpu in chosen)
            environ = dict(zip(OF_ONE_BODY, (indices, "PCI_BUS_ID"), strict=True))  # nvidia-smi's order
            yield Taken(chosen, tuple(fd for _, fd in held), environ)
        finally:
            for _, fd in held:
                os.close(fd)

    def _fit(self, wanted: Resources) -> tuple[Gpu, ...]:
        return tuple(gpu for gpu in self.all if gpu.memory_gb >= wanted.gpu_memory_gb)


def _try(fit: Sequence[Gpu], count: int, how: int) -> list[tuple[Gpu, int]] | None:
    """`count` devices at once, or none: two runs that each hold half of what they need would wait for ever."""
    held: list[tuple[Gpu, int]] = []
    for gpu in fit:
        if len(held) == count:
            break
        fd = _open(gpu)
        try:
            fcntl.flock(fd, how | fcntl.LOCK_NB)
            held.append((gpu, fd))
        except BlockingIOError:
            os.close(fd)
    if len(held) == count:
        return held
    for _, fd in held:
        os.close(fd)
    return None


def _open(gpu: Gpu) -> int:
    """A descriptor of the file of a slot, which all users of this machine may lock and nobody writes."""
    folder = Path(os.environ.get(FOLDER) or Path(tempfile.gettempdir()) / "fromzero-devices")
    try:
        with suppress(FileExistsError):
            folder.mkdir(parents=True)
            folder.chmod(0o1777)
        path = folder / gpu.uuid
        with suppress(FileExistsError):
            fd = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444)
            os.fchmod(fd, 0o444)
            return fd
        return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(
            f"{folder}: the slots of this machine's GPUs cannot be kept there ({error.strerror}): make it writable, "
            f"or let {FOLDER} name a folder that is the same for all runs on this machine"
        ) from error
