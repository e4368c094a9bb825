"""How far a long step is, for servers that show it: told by a thread of its own, so that no step waits for one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Self

from tasks.core.events import Event

EVERY = 5.0
"""Seconds between two times that it is shown."""
_log = logging.getLogger(__name__)


class ProgressThread:
    """Shows the newest of a step's events of progress now and then, and the last one, while it is entered.

    A step that tells none costs nothing. What cannot be shown is logged once, and not tried again.
    """

    def __init__(self, show: Callable[[Event], object], every: float = EVERY) -> None:
        self._show, self._every = show, every
        self._newest: Event | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._gone = False
        """Who entered it has gone on: nothing is shown any more, for the work directory may be gone too."""

    def event(self, event: Event) -> None:
        """The step has told how far it is."""
        self._newest = event
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="progress", daemon=True)
            self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join(self._every)
            self._gone = True

    def _serve(self) -> None:
        shown, over = None, False
        try:
            while not over:
                over = self._ended.wait(0 if shown is None else self._every)
                newest = self._newest
                if newest is not None and newest != shown and not self._gone:
                    self._show(newest)
                    shown = newest
        except Exception:
            _log.warning("how far the step is cannot be shown", exc_info=True)
