"""Cancelling a run: Prefect is told, the run notices, saves what it trains, and leaves."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from flows.runs.history import Run, is_running
from tasks.core import number_format
from tasks.core.errors import ConfigError, HostError
from tasks.core.services import prefect_api, servers

LOOK_EVERY = 0.2
"""Seconds between looks whether the run has gone."""


def api_url(home: Path) -> str:
    """The Prefect API that runs of this home use; raises `HostError` if there is none."""
    found = servers.running(home)
    url = os.environ.get("PREFECT_API_URL") or (found["url"] if found else None)
    if url is None:
        raise HostError(
            f"no Prefect server runs for {home}: nobody is there to be told; set PREFECT_API_URL if it uses another"
        )
    return str(url)


def cancel(home: Path, run: Run, patience: float, say: Callable[[str], None]) -> None:
    """Ask a run to stop and wait until its process is gone, up to `patience` seconds.

    Raises `ConfigError` if it has ended already, `HostError` if no server answers, the server refuses, or the run
    does not leave in time.
    """
    if run.state != "running":
        when = f"{run.state} after {number_format.seconds(run.seconds)}" if run.seconds is not None else run.state
        raise ConfigError(f"run {run.id} ({run.name or 'unnamed'}) is not under way: {when}")
    url = api_url(home)
    if why := prefect_api.cancel(url, run.run, "fromzero cancel"):
        raise HostError(f"Prefect does not let run {run.id} be cancelled: {why}")
    say(f"{run.id}  {run.name}: asked to stop; it saves what it trains first")
    deadline = time.monotonic() + patience
    while is_running(home, run.run):
        if time.monotonic() > deadline:
            raise HostError(
                f"run {run.id} has not stopped after {patience:.0f} s: `kill {run.pid}` ends it; what is made stays"
            )
        time.sleep(LOOK_EVERY)
    say(f"{run.id}  cancelled: its process is gone. The same `fromzero run` goes on where it was")
