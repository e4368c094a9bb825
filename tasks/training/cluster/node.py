"""One node among several: takes part in every training that the first one starts, until it is ended itself."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from tasks.core.errors import FromzeroError
from tasks.training.cluster.node_address import Rendezvous
from tasks.training.cluster.torchrun import command, environment, patient
from tasks.training.job import Job


class Calls(Protocol):
    """How a node hears of trainings."""

    every: float
    """Seconds between two looks."""
    place: str
    """Where it looks, as the end of a sentence."""

    def newest(self) -> Rendezvous | None:
        """The rendezvous last called; None if there is none."""

    def job(self, rendezvous: Rendezvous, folder: Path) -> Job:
        """What is to be trained, on files of this machine; `folder` is empty, and the node's as long as it lasts.

        Raises `FileNotFoundError` if the training has just ended.
        """


def serve(calls: Calls, say: Callable[[str], None]) -> None:
    """Take part in the trainings that are called to, one after another.

    When an agent dies, or loses the others, another takes its place as long as the rendezvous stands. Ends with
    `KeyboardInterrupt` at the first signal, once training has saved.
    """
    said = ""

    def tell(line: str) -> None:
        nonlocal said
        if line != said:
            say(line)
        said = line

    while True:
        rendezvous = calls.newest()
        if rendezvous is None:
            tell(f"waiting for a training {calls.place}")
        elif not rendezvous.reachable():
            tell(f"training {rendezvous.name}: nobody answers yet at {rendezvous.endpoint}")
        else:
            tell(f"training {rendezvous.name}: taking part at {rendezvous.endpoint}")
            try:
                _take_part(rendezvous, calls)
            except FromzeroError as error:
                tell(f"training {rendezvous.name}: trying again: {error}")
        time.sleep(calls.every)


def _take_part(rendezvous: Rendezvous, calls: Calls) -> None:
    """Run this node's agent until it ends, or the rendezvous is no longer the present one."""
    with TemporaryDirectory(prefix="fromzero-node-") as folder:
        try:
            job = calls.job(rendezvous, Path(folder))
        except FileNotFoundError:  # the training has just ended
            return
        if job.shared is not None:
            job.write()
        agent = subprocess.Popen(command(job, rendezvous, first=False), env=environment(job))
        with patient(agent, job.stop_file) as signals:
            looked, ended = time.monotonic(), False
            while agent.poll() is None:
                time.sleep(min(calls.every, 0.25))
                if not ended and time.monotonic() - looked >= calls.every:
                    looked = time.monotonic()
                    if calls.newest() != rendezvous:
                        agent.terminate()
                        ended = True
    if signals:
        raise KeyboardInterrupt
