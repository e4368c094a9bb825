"""This machine: a child process of the run, in a group of its own, that ends with it."""

from __future__ import annotations

from typing import Any

from tasks.core.engine import child_process
from tasks.core.engine.job_file import JobFile
from tasks.core.engine.launcher import GRACE, Launcher, Listener
from tasks.core.store.lease import Lease


class Local:
    """Child processes, each of which has the lease open, so that a key is free only when they are gone too."""

    here = True

    def run(self, job: JobFile, lease: Lease, listener: Listener) -> dict[str, Any]:
        """See `Launcher`."""
        return child_process.run_child(
            job.path, lease, listener.say, job.environ, listener.log, job.timeout, listener.begun, listener.hear
        )

    def cancel(self, grace: float = GRACE) -> None:
        """See `Launcher`."""
        child_process.end_all(grace)


PLACE: Launcher = Local()
