"""What stops a run from outside: a person's cancellation in Prefect, and signals, of which none may be lost."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

from tasks.core.engine.workspace import Report
from tasks.core.errors import FromzeroError
from tasks.core.liveness import Announced
from tasks.core.services import prefect_api
from tasks.core.store.lease import stopping

CANCEL_EVERY = 3.0
"""Seconds between looks whether the run was cancelled in Prefect's UI."""
UNHEEDED = 2.0
"""Seconds in which a signal begins to stop the run, or is sent again."""
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""The signals that stop a run."""


class Stoppable(Protocol):
    """A run that can be stopped."""

    run_id: str
    announced: Announced | None
    report: Report


def heed_cancellation(run: Stoppable, url: str, ended: threading.Event, patience: float) -> None:
    """Ask Prefect now and then whether somebody has cancelled the run; if so, interrupt it.

    A worker interrupts its runs itself: only if it has not within `patience` seconds, it is gone.
    """
    while not ended.wait(CANCEL_EVERY):
        if run.announced is not None:
            run.announced.beat()
        with suppress(FromzeroError):  # an answer that does not come is asked for again
            state = prefect_api.ask(url, f"flow_runs/{run.run_id}")["state_name"]
            if state not in ("Cancelling", "Cancelled"):
                continue
            if ended.wait(patience) or stopping.is_set():
                return
            run.report.line("", "the run was cancelled in Prefect")
            if patience:  # the worker, which would say so in the end, is gone
                cancelled = {"type": "CANCELLED", "name": "Cancelled"}
                prefect_api.ask(url, f"flow_runs/{run.run_id}/set_state", {"state": cancelled, "force": True})
            os.kill(os.getpid(), signal.SIGTERM)  # a shell lets its background jobs ignore SIGINT
            return


def insist(ended: threading.Event) -> Callable[[], None]:
    """From now on a signal that does not begin to stop this process is sent again, until it does or the run `ended`.

    A handler's exception is dropped where Python can raise none: in finalizers, in callbacks of libraries. Returns
    what ends this. Other threads than the main one get no signals: there it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        return lambda: None
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    before = signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)

    def watch() -> None:
        while numbers := os.read(read_end, 64):
            number = next((number for number in numbers if number in STOPPING), None)
            while number is not None and not ended.wait(UNHEEDED) and not stopping.is_set():
                os.kill(os.getpid(), number)
                while select.select([read_end], [], [], 0)[0] and os.read(read_end, 64):
                    pass  # the one just sent
        os.close(read_end)

    def end() -> None:
        signal.set_wakeup_fd(before)
        os.close(write_end)

    threading.Thread(target=watch, daemon=True).start()
    return end
