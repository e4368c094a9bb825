"""How far a long step is, for whoever shows it: told by a thread of its own, so that no step waits for a server."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable
from typing import Self

STEP = re.compile(r"\bstep (\d+)/(\d+)\b")
EVERY = 5.0
"""Seconds between two times that it is shown."""
_log = logging.getLogger(__name__)


class Headway:
    """Reads from a step's lines how far it is (`step 30/100 …`), and shows the newest one while it is entered.

    A step that says nothing of the kind costs nothing. What cannot be shown is logged once, and not tried again.
    """

    def __init__(self, show: Callable[[float, str], object], every: float = EVERY) -> None:
        """`show` gets percent and the line."""
        self._show, self._every = show, every
        self._said: tuple[float, str] | None = None
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def line(self, text: str) -> None:
        """The step has printed a line."""
        found = STEP.search(text)
        if found is None or not int(found[2]):
            return
        self._said = (100 * int(found[1]) / int(found[2]), text)
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="headway", daemon=True)
            self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join(self._every)

    def _serve(self) -> None:
        shown, over = None, False
        try:
            while not over:
                over = self._ended.wait(0 if shown is None else self._every)
                said = self._said
                if said is not None and said != shown:
                    self._show(*said)
                    shown = said
        except Exception:
            _log.warning("how far the step is cannot be shown", exc_info=True)
