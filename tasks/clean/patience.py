"""Limits of what one document may take while it is cleaned: characters, and seconds of a processor."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any, TypeVar

Result = TypeVar("Result")
TOO_LONG, TOO_SLOW = "too_long", "too_slow"
"""Reasons of documents beyond the limits."""


class _TimeIsUp(BaseException):
    """So that no library takes it for an error of its own."""


class Patience:
    """Calls functions for one text at a time and gives each text up that needs more seconds than it may.

    The clock is that of the process, so that a busy machine changes nothing. It can ring in the main thread only, where
    steps run; elsewhere calls are not interrupted.
    """

    def __init__(self, seconds: float | None = None) -> None:
        """None gives every text all the time."""
        self.seconds = seconds
        self.given_up: set[int] = set()
        """Texts that took too long, by their number."""

    def __call__(self, text: int, instead: Result, function: Callable[..., Result], *values: Any) -> Result:
        """What the function gives for text number `text`; `instead` if it was, or is now, given up."""
        if text in self.given_up:
            return instead
        if self.seconds is None or threading.current_thread() is not threading.main_thread():
            return function(*values)
        before = signal.signal(signal.SIGVTALRM, _ring)
        try:
            signal.setitimer(signal.ITIMER_VIRTUAL, self.seconds)
            try:
                return function(*values)
            finally:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        except _TimeIsUp:
            self.given_up.add(text)
            return instead
        finally:
            signal.signal(signal.SIGVTALRM, before)


def _ring(*_: object) -> None:
    raise _TimeIsUp
