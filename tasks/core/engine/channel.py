"""Through which a run and a body on another machine speak: small objects in the body's work directory in the store.

Each is written by one side only, so nothing needs a lock: `job.json` and `run.json` by the run, `body.json` and the
pieces of its output by the carrier, the process that looks after the body. Both count up a beat: whoever sees none for
a while knows that the other is gone. Only one's own clock is ever looked at.
"""

from __future__ import annotations

import itertools
import json
import time
from typing import Any

from tasks.core.errors import Transient
from tasks.core.store.lease import stopping
from tasks.core.store.store import Backend

BEAT = 3.0
"""Seconds between two signs of life."""
SILENT = 25.0
"""Seconds without one after which a carrier ends its body."""
DEAD = 35.0
"""Seconds without one after which a run takes the carrier, and so the body, for gone: longer than `SILENT`."""
AT_HAND = 16_000_000
"""Bytes up to which a file that was made elsewhere is brought to the run."""
FOLDER = "remote"


class Channel:
    """One body's objects, under `_work/STEP/KEY/remote/TICKET/`."""

    def __init__(self, backend: Backend, path: str, ticket: str) -> None:
        """`path` is STEP/KEY; `ticket` tells this attempt from all others."""
        self.backend, self.prefix = backend, f"{folder(path)}{ticket}/"

    def write(self, name: str, value: dict[str, Any]) -> None:
        """Replace an object of ours."""
        self.backend.put(f"{self.prefix}{name}.json", json.dumps(value).encode())

    def read(self, name: str) -> dict[str, Any] | None:
        """An object of the other side, None before it is there."""
        try:
            return dict(json.loads(self.backend.read(f"{self.prefix}{name}.json")[0]))
        except FileNotFoundError:
            return None

    def add(self, stream: str, number: int, data: bytes) -> None:
        """The next piece of a stream."""
        self.backend.put(f"{self.prefix}{stream}/{number:08d}", data)

    def piece(self, stream: str, number: int) -> bytes:
        """A piece that the other side has said is there."""
        return self.backend.read(f"{self.prefix}{stream}/{number:08d}")[0]

    def remove(self) -> None:
        """Nobody needs any of it any more."""
        self.backend.remove(self.prefix)


def folder(path: str) -> str:
    """Where the channels of all attempts at STEP/KEY lie."""
    return f"_work/{path}/{FOLDER}/"


def tickets(backend: Backend, path: str) -> list[str]:
    """The attempts at STEP/KEY of which something is left."""
    base = folder(path)
    return sorted({name.removeprefix(base).split("/")[0] for name in backend.names(base)})


def fence(backend: Backend, path: str) -> None:
    """End whatever another run has left working at STEP/KEY on other machines, and wait until it is gone."""
    for ticket in tickets(backend, path):
        channel, beats = Channel(backend, path, ticket), itertools.count(1 << 40)
        channel.write("job", {})  # for one that has not begun
        beat, since = -1, time.monotonic()
        while True:
            channel.write("run", {"beat": next(beats), "stop": "kill"})
            found = channel.read("body")
            if found is None or found["ended"] is not None:
                break
            if found["beat"] != beat:
                beat, since = found["beat"], time.monotonic()
            if time.monotonic() - since > found["dead"]:
                break
            if stopping.wait(BEAT / 3):
                raise Transient("the run is stopping")
        channel.remove()
