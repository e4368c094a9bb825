"""Work in a process of its own, which is ended when it takes too much time or memory, whatever library it is in."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


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


def within(memory: int, make: Callable[[], Iterator[T]]) -> Iterator[T]:
    """What an iterator gives that is made and run in a forked process, with so many bytes of memory for its work.

    Raises `MemoryError` when these are not enough or the process dies, and what the iterator raises. The limit is one
    of the address space, which Linux alone keeps.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_give, args=(memory, make, theirs, ours), daemon=True)
    process.start()
    theirs.close()
    try:
        while (told := ours.recv())[0] != "end":
            if told[0] == "error":
                raise told[1]
            yield told[1]
    except EOFError:
        raise MemoryError("the process died") from None
    finally:
        _close(ours, process)


def _give(memory: int, make: Callable[[], Iterator[T]], end: Connection, others: Connection) -> None:
    others.close()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _limit(memory)
    try:
        for item in make():
            end.send(("item", item))
        end.send(("end", None))
    except MemoryError:
        end.send(("error", MemoryError("not enough")))  # its traceback holds what there was no room for
    except Exception as error:
        end.send(("error", error))


def _limit(memory: int) -> None:
    """Let this process have so many bytes more than it has, where the system tells how many it has."""
    with suppress(FileNotFoundError):
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        most = resource.getrlimit(resource.RLIMIT_AS)[1]
        wanted = now + memory
        resource.setrlimit(resource.RLIMIT_AS, (wanted if most < 0 else min(wanted, most), most))


def _close(end: Connection, process: Any) -> None:
    end.close()
    process.kill()
    process.join()


def _let_go(kept: int) -> None:
    """Close what was open when the process was forked: it would hold locks, and pipes whose end somebody waits for."""
    for name in os.listdir("/dev/fd"):
        if int(name) > 2 and int(name) != kept:
            with suppress(OSError):  # the one by which the folder was listed
                os.close(int(name))


def _serve(function: Callable[[str], str], end: Connection, others: Connection) -> None:
    others.close()
    _let_go(end.fileno())
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
