"""A function in a process of its own, which is ended when one call takes too long, whatever library it is in."""

from __future__ import annotations

import multiprocessing
import signal
import weakref
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


class TooSlow(ValueError):
    """A call that used up its CPU seconds."""


class Apart:
    """Calls a function of one text in a process that is forked with the first call, and anew after one was ended.

    The time is the processor's, so that a busy machine changes nothing. What the function raises is raised here.
    """

    def __init__(self, function: Callable[[str], str]) -> None:
        self._function = function
        self._end: Connection | None = None
        self._ended: Callable[[], object] = lambda: None

    def __call__(self, text: str, seconds: float) -> str:
        """The function's result; raises `TooSlow` after so many CPU seconds."""
        if self._end is None:
            self._begin()
        assert self._end is not None
        try:
            self._end.send((text, seconds))
            well, found = self._end.recv()
        except (EOFError, ConnectionError):
            self.close()
            raise TooSlow(f"takes more than {seconds:g} s of a processor") from None
        if well:
            return str(found)
        raise found

    def close(self) -> None:
        """End the process, if there is one."""
        self._end = None
        self._ended()

    def _begin(self) -> None:
        context = multiprocessing.get_context("fork")  # spawned it would import the function's libraries anew
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(self._function, theirs, ours), daemon=True)
        process.start()
        theirs.close()
        self._end, self._ended = ours, weakref.finalize(self, _close, ours, process)


def _close(end: Connection, process: Any) -> None:
    end.close()
    process.kill()
    process.join()


def _serve(function: Callable[[str], str], end: Connection, others: Connection) -> None:
    others.close()  # else this process would not see the other one go
    for number in (signal.SIGPROF, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)  # the one of the clock ends a process inside of a library too
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            text, seconds = end.recv()
        except EOFError:
            return
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            answer: tuple[bool, Any] = True, function(text)
        except Exception as error:
            answer = False, error
        signal.setitimer(signal.ITIMER_PROF, 0)
        end.send(answer)
