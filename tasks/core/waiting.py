"""Say what is waited for, once that takes long."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

AFTER, EVERY = 3.0, 30.0
"""Seconds after which a wait is said first, and from then on."""


def to_stderr(text: str) -> None:
    """Print a line: a step's stderr is logged and shown; a command's stdout stays as `--json` needs it."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def announced(what: str, say: Callable[[str], None] = to_stderr) -> Iterator[None]:
    """While inside, say "waiting for WHAT" once it takes long, and then again, with the time that it has taken."""
    over, started = threading.Event(), time.monotonic()

    def tell() -> None:
        pause = AFTER
        while not over.wait(pause):
            say(f"waiting for {what}: {time.monotonic() - started:.0f} s so far")
            pause = EVERY

    teller = threading.Thread(target=tell, name=f"waiting for {what}", daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()
