"""A second place: plain processes in a folder of their own, which know nothing of the run but the job's file."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from tasks.core import events, interpreter
from tasks.core.engine.job_file import JobFile
from tasks.core.engine.launcher import GRACE, Launcher, Limits, Listener
from tasks.core.store.lease import Lease


class Elsewhere:
    """Output goes to a file, which is read as it grows, as a place's log stream may be."""

    here, fetches, gathers = False, False, False

    def __init__(self) -> None:
        self.running: list[subprocess.Popen[bytes]] = []

    def check(self) -> None:
        return None

    def run(self, job: JobFile, lease: Lease, listener: Listener) -> dict[str, Any]:
        desk = Path(mkdtemp(prefix="desk-"))
        copy, output = shutil.copy(job.path, desk), desk / "output"
        command = interpreter.command("-m", "tasks.core.engine.child_process", str(copy), "0")
        with output.open("wb") as out:
            body = subprocess.Popen(
                command,
                cwd=desk,
                env=interpreter.environment(),
                stdin=subprocess.PIPE,  # closed when this process is gone: then the body ends
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.running.append(body)
        lines = self._lines(output, body)
        reader = threading.Thread(target=listener.follow, args=(lines, job.environ.get(events.WORD)))
        reader.start()
        limits, why = Limits(job.timeout, lease, listener.log), None
        try:
            while body.poll() is None and why is None:
                time.sleep(0.05)
                why = limits.passed()
        finally:
            if why is not None:
                self._end(body, GRACE)
            self._signal(body, signal.SIGKILL)
            body.wait()
            self.running.remove(body)
            reader.join()
            shutil.rmtree(desk)
        if why is not None:
            raise why
        return job.stats(body.returncode, listener.log)

    def cancel(self, grace: float = GRACE) -> None:
        enders = [threading.Thread(target=self._end, args=(body, grace)) for body in list(self.running)]
        for ender in enders:
            ender.start()
        for ender in enders:
            ender.join()

    def _end(self, body: subprocess.Popen[bytes], grace: float) -> None:
        self._signal(body, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            body.wait(grace)
        self._signal(body, signal.SIGKILL)

    @staticmethod
    def _signal(body: subprocess.Popen[bytes], number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(body.pid, number)

    @staticmethod
    def _lines(output: Path, body: subprocess.Popen[bytes]) -> Iterator[bytes]:
        with output.open("rb") as file:
            begun = b""
            while True:
                over = body.poll() is not None
                while line := file.readline():
                    begun += line
                    if begun.endswith(b"\n"):
                        yield begun
                        begun = b""
                if over:
                    break
                time.sleep(0.02)
            if begun:
                yield begun


PLACE: Launcher = Elsewhere()
