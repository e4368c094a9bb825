"""The toy flow as a real process: started, watched, killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


class Toy:
    """One `python -m tests.toy_run` in a session of its own, its stderr in a file."""

    def __init__(self, home: Path, url: str, *texts: str, word: str = "one", pause: float = 0.0, **env: str) -> None:
        self.home = home
        self.log = home.parent / f"stderr-{home.name}-{time.monotonic_ns()}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.toy_run", word, str(pause), *texts],
            cwd=ROOT,
            env={**os.environ, "FROMZERO_HOME": str(home), "PREFECT_API_URL": url, **env},
            stdout=subprocess.PIPE,
            stderr=self.log.open("w"),
            start_new_session=True,
        )

    def wait(self, limit: float = 500) -> dict[str, Any]:
        """Its JSON; the states of its steps by label under `states`."""
        out, _ = self.process.communicate(timeout=limit)
        assert out, self.log.read_text()[-3000:]
        found: dict[str, Any] = json.loads(out)
        found["states"] = {o["step"] + (f"[{o['shard']}]" if o["shard"] else ""): o["state"] for o in found["outcomes"]}
        return found

    def until(self, condition: Callable[[], Any], limit: float = 400) -> Any:
        """Wait for something to become true while the process lives."""
        deadline = time.monotonic() + limit
        while not (value := condition()):
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.02)
        return value

    def started(self, label: str) -> Callable[[], bool]:
        """A condition: the step's body has begun."""
        return lambda: f"> {label}\n" in self.log.read_text()

    def kill(self) -> None:
        """SIGKILL to the run's own process only."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def children(self) -> list[int]:
        """Process ids of step children of this home that live."""
        return living(str(self.home))


def living(needle: str) -> list[int]:
    """Processes that run a step's job under a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"tasks.core.engine.child_process" in words and any(needle.encode() in word for word in words):
                found.append(int(entry.name))
    return found


def eventually(condition: Callable[[], Any], limit: float = 400) -> bool:
    """Whether something becomes true."""
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return bool(condition())
