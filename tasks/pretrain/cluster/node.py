"""One node among several: takes part in every training that the first one starts, until it is ended itself."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tasks.pretrain.cluster.node_address import Rendezvous, newest
from tasks.pretrain.cluster.torchrun import command, environment, patient
from tasks.pretrain.job import Job

PAUSE = 1.0
"""Seconds between two looks at the shared folder."""


def serve(folder: Path, say: Callable[[str], None], endpoint: str | None = None) -> None:
    """Take part in the trainings of the work directories below `folder` (that meet at `endpoint`), one after another.

    When an agent dies, or loses the others, another takes its place as long as the rendezvous stands. Ends with
    `KeyboardInterrupt` at the first signal, once training has saved.
    """
    said = ""
    while True:
        rendezvous = newest(folder, endpoint)
        there = rendezvous is not None and rendezvous.reachable()
        name = Path(rendezvous.job).parents[1].name[:12] if rendezvous else ""
        line = f"waiting for a training below {folder}"
        if rendezvous is not None:
            line = f"training {name}: {'taking part' if there else 'nobody answers yet'} at {rendezvous.endpoint}"
        if line != said:
            say(line)
            said = line
        if rendezvous is not None and there:
            _take_part(rendezvous, partial(newest, folder, endpoint))
        time.sleep(PAUSE)


def _take_part(rendezvous: Rendezvous, present: Callable[[], Rendezvous | None]) -> None:
    """Run this node's agent until it ends, or the rendezvous is no longer the present one."""
    try:
        job = Job.read(Path(rendezvous.job))
    except FileNotFoundError:  # the training has just ended
        return
    agent = subprocess.Popen(command(job, rendezvous, first=False), env=environment(job))
    with patient(agent, job.stop_file) as signals:
        ended = False
        while agent.poll() is None:
            if not ended and present() != rendezvous:
                agent.terminate()
                ended = True
            time.sleep(PAUSE / 4)
    if signals:
        raise KeyboardInterrupt
