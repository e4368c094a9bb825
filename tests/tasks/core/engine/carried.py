"""What pool and ray are, but for who starts the carriers: here they are plain processes of this machine."""

from __future__ import annotations

import subprocess

from tasks.core import interpreter
from tasks.core.engine.job_file import JobFile
from tasks.core.engine.launcher import Launcher
from tasks.core.engine.remote.caller import Remote, Sent
from tasks.core.errors import ChildKilled


class Process(Sent):
    """One carrier."""

    def __init__(self, artifact: str, ticket: str) -> None:
        self.process = subprocess.Popen(
            interpreter.command("-m", "tasks.core.engine.remote.carrier", artifact, ticket),
            env=interpreter.environment(),
            start_new_session=True,
        )

    def gone(self, now: bool = False) -> ChildKilled | None:
        return ChildKilled("the carrier has ended") if self.process.poll() is not None else None

    def waits(self) -> str:
        return "the carrier starts"

    def withdraw(self, dead: bool) -> None:
        self.process.terminate()
        self.process.wait()


class Carried(Remote):
    """Impatient, so that tests need not wait."""

    silent, dead = 8.0, 10.0

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[Process] = []

    def check(self) -> None:
        return None

    def send(self, job: JobFile, ticket: str) -> Sent:
        self.sent.append(Process(job.artifact, ticket))
        return self.sent[-1]


PLACE: Launcher = Carried()
