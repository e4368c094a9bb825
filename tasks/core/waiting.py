"""Say what is waited for, once that takes long."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context

from tasks.core import events

AFTER, EVERY = 3.0, 30.0
"""Seconds after which a wait is said first, and from then on."""


def aloud(text: str) -> None:
    """Told by a step; of a command printed where its stdout stays as `--json` needs it."""
    if events.listened_to():
        events.notice(text)
    else:
        print(text, file=sys.stderr, flush=True)


@contextmanager
def announced(what: str, say: Callable[[str], None] = aloud) -> Iterator[None]:
    """While inside, say "waiting for WHAT" once it takes long, and then again, with the time that it has taken."""
    over, started = threading.Event(), time.monotonic()

    def tell() -> None:
        pause = AFTER
        while not over.wait(pause):
            say(f"waiting for {what}: {time.monotonic() - started:.0f} s so far")
            pause = EVERY

    teller = threading.Thread(target=copy_context().run, args=(tell,), name=f"waiting for {what}", daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()
