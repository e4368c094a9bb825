"""Which step runs in which place: `engine.places`, and the GPUs of this machine for what runs here."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from conf.schema.engine import EngineConf
from tasks.core.engine import launcher
from tasks.core.engine.child_process import Slots
from tasks.core.engine.device_slots import DeviceSlots
from tasks.core.engine.launcher import Launcher
from tasks.core.errors import HostError, nearest
from tasks.core.step import Step
from tasks.core.store.open import bucket_of, open_store

GPU, REST = "gpu", "rest"
"""What engine.places calls steps that ask for a GPU, and all others."""


class Placing:
    """The places of one run, with the processor cores, the memory and the GPUs that steps share on this machine."""

    def __init__(self, conf: EngineConf | None = None) -> None:
        """Raises `ConfigError` for a place that there is not."""
        conf = conf or EngineConf()
        self.slots = Slots(conf.cpus or os.cpu_count() or 1)
        self.devices = DeviceSlots(conf.fake_devices)
        self._named = {name: launcher.place(chosen) for name, chosen in conf.places.items()}
        self._here = launcher.place("local")

    def of(self, step: Step) -> Launcher:
        """Where a step's bodies run; effects run here unless they are named themselves."""
        named = self._named.get(step.name) or self._named.get(step.stage)
        if named is None and not step.effect:
            named = (self._named.get(GPU) if step.resources.gpu else None) or self._named.get(REST)
        return named or self._here

    def all(self) -> list[Launcher]:
        """Every place, each once."""
        return list({id(place): place for place in (self._here, *self._named.values())}.values())

    def check(self, calls: Iterable[tuple[Step, str]]) -> None:
        """Raise `HostError` if a place in which one of these steps is to run, each with its label, cannot carry it out;
        a place is asked once."""
        asked = set[int]()
        for step, label in calls:
            place = self.of(step)
            if place.here:
                self.devices.check(label, step.resources)
            elif step.resources.nodes > 1:
                _check_several(label, step, place)
            if id(place) not in asked:
                place.check()
                asked.add(id(place))

    def unknown(self, steps: Iterable[Step]) -> Iterator[str]:
        """What is to be said of names in engine.places that are none of the steps'."""
        known = sorted({name for step in steps for name in (step.name, step.stage)})
        for name in sorted(set(self._named) - {*known, GPU, REST}):
            yield f"engine.places.{name}: this run has no step and no stage of that name{nearest(name, known)}"


def _check_several(label: str, step: Step, place: Launcher) -> None:
    """Raise `HostError` if a place cannot give a step the machines that it wants."""
    asks = f"{label} asks for {step.resources.nodes} machines"
    if not place.gathers:
        raise HostError(f"{asks}, which its place does not bring together: let engine.places.{step.name} be a pool")
    if bucket_of(open_store()) is None:
        raise HostError(f"{asks}, which find each other through a bucket in a pool: store=s3 store.bucket=NAME")
