"""This machine: a child process of the run, in a group of its own, that ends with it."""

from __future__ import annotations

from functools import partial
from typing import Any

from tasks.core.engine import child_process
from tasks.core.engine.job_file import JobFile
from tasks.core.engine.launcher import GRACE, Launcher, Listener
from tasks.core.engine.places.local.forked import FORKS, SERVERS
from tasks.core.store.lease import Lease


class Local:
    """Child processes, each of which has the lease open, so that a key is free only when they are gone too."""

    here, fetches, gathers = True, False, False

    def __init__(self, forks: bool = FORKS) -> None:
        """With `forks` a child is forked from a server that has loaded what it needs, where that is safe."""
        self._forks = forks

    def check(self) -> None:
        """See `Launcher`."""

    def run(self, job: JobFile, lease: Lease, listener: Listener) -> dict[str, Any]:
        """See `Launcher`."""
        begin = partial(SERVERS.child, job.entry, job.libraries) if self._forks else child_process.spawned
        return child_process.run_child(job, lease, listener, begin)

    def cancel(self, grace: float = GRACE) -> None:
        """See `Launcher`."""
        child_process.end_all(grace)


PLACE: Launcher = Local()
