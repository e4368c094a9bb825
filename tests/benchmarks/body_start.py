"""What it costs to start a step's body on this machine: a body of no work, forked from a server, beside a spawned one.

`python -m tests.benchmarks.body_start`; CPU seconds are of this process, its servers and the bodies together.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import psutil

from tasks.core.engine.job_file import JobFile
from tasks.core.engine.launcher import Listener
from tasks.core.engine.places.local import Local
from tasks.core.small_files import write_atomically
from tasks.core.step import Call, Step
from tasks.core.store.lease import FileLease
from tasks.core.workdir import Workdir
from tests.benchmarks.idle_bodies import nothing, tables

RESULTS = Path(__file__).parent / "results"
BODIES = 20


def cpu() -> float:
    """CPU seconds up to now: this process, what it has waited for, what lives below it."""
    spent = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return spent + sum(sum(child.cpu_times()[:4]) for child in psutil.Process().children())


def each(place: Local, body: Step, folder: Path, bodies: int) -> float:
    """CPU seconds of a body, the mean of so many."""
    before = cpu()
    for number in range(bodies):
        work = Workdir(folder / str(number))
        work.make()
        job = JobFile.of(Call(body, ()), (), work, {})
        job.write()
        with FileLease(os.open(os.devnull, os.O_RDONLY)) as lease:
            place.run(job, lease, Listener(work.root / "log", print, print))
    return (cpu() - before) / bodies


def main(folder: Path) -> None:
    """Measure, print a table, write results/body_start.json."""
    rows = []
    for body, what in ((nothing, "a body of no work"), (tables, "a body that loads pyarrow and pandas")):
        forked, spawned = Local(forks=True), Local(forks=False)
        first = each(forked, body, folder / f"{body.name}-first", 1)  # its server's start is in it
        mine = each(forked, body, folder / f"{body.name}-forked", BODIES)
        theirs = each(spawned, body, folder / f"{body.name}-spawned", BODIES)
        row = {
            "what": what,
            "ours": round(mine * 1000, 1),
            "peer": round(theirs * 1000, 1),
            "peer_name": "a new Python",
            "ratio": round(theirs / mine, 1),
            "unit": "CPU ms",
            "device": f"{os.cpu_count()} cores, {platform.machine()}",
            "date": datetime.now(UTC).date().isoformat(),
        }
        rows.append(row)
        beside = f"{row['peer_name']} {row['peer']}, ratio {row['ratio']}; the first {first * 1000:.0f}"
        print(f"{what}: {row['ours']} CPU ms, {beside}")
    RESULTS.mkdir(exist_ok=True)
    write_atomically(RESULTS / "body_start.json", json.dumps(rows, indent=1).encode() + b"\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        main(Path(temporary))
