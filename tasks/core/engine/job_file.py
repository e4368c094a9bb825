"""A step's body as a job: a file with everything that it needs, and nothing of the process that wrote it.

Whoever sees the work directory can carry it out: `python -m tasks.core.engine.child_process FILE`. It leaves its end in
status.json in the work directory: its statistics, or what kind of error stopped it.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tasks.core import events
from tasks.core.artifact import Artifact, FileEntry
from tasks.core.errors import KINDS, ChildKilled, HostError, StepError
from tasks.core.plan.fingerprint import fingerprint
from tasks.core.small_files import write_atomically
from tasks.core.step import Call
from tasks.core.workdir import Workdir

CANNOT_WRITE = 74
"""Exit code of a body that cannot even write its status (EX_IOERR)."""


@dataclass(frozen=True)
class JobFile:
    """One body that is to run somewhere."""

    entry: str
    """The step: module:function."""
    inputs: list[Any]
    """References to artifacts with the names and sums of their files, and JSON values."""
    conf: Any
    root: str
    """The work directory."""
    code: str | None
    """What the run took the step's code to be; None where the key holds a version."""
    environ: dict[str, str] = field(default_factory=dict)
    """Variables that the body is to have, beside those of the place."""
    timeout: float | None = None
    """Seconds that it may take; None for no limit."""
    resources: dict[str, float] = field(default_factory=dict)
    """What it asks for: cpu, memory_gb, gpu and the like, as `Resources` has them."""
    libraries: list[str] = field(default_factory=list)
    """Distributions that it will load, for a place that can have them ready."""
    artifact: str = ""
    """STEP/KEY of what it makes."""
    fingerprint: str = ""
    """The code of the step, as the run has it."""
    epoch: int = 0
    """The lease's, under which it works."""
    track: bool = False
    """What it uses of its machine is sampled."""

    @classmethod
    def of(
        cls,
        call: Call,
        inputs: tuple[Any, ...],
        work: Workdir,
        environ: Mapping[str, str],
        artifact: str = "",
        epoch: int = 0,
    ) -> JobFile:
        """The job of a call, with a word of its own for its events."""
        step, digest = call.step, fingerprint(call.step).digest
        return cls(
            step.entry,
            [encode(item) for item in inputs],
            call.conf.model_dump(mode="json") if call.conf is not None else None,
            str(work.root.absolute()),
            None if step.version or step.effect else digest,
            {**environ, events.WORD: events.word()},
            step.timeout,
            asdict(step.resources),
            sorted({*step.libraries, *step.needs}),
            artifact,
            digest,
            epoch,
            step.track,
        )

    @classmethod
    def read(cls, path: Path) -> JobFile:
        """The job in a file."""
        return cls(**json.loads(path.read_bytes()))

    def write(self) -> None:
        """Put the file in the work directory, in which nothing says any more how an earlier attempt ended."""
        write_atomically(self.path, json.dumps(asdict(self)).encode())
        self.status_file.unlink(missing_ok=True)

    @property
    def path(self) -> Path:
        """Where the job is written."""
        return Path(self.root) / "job.json"

    @property
    def status_file(self) -> Path:
        """Where the body says how it ended."""
        return Path(self.root) / "status.json"

    def stats(self, code: int, log: Path) -> dict[str, Any]:
        """What the body made, now that it has ended with an exit code, which is minus a signal or 128 and a signal for
        one that was killed; raises what its status says, `ChildKilled` if it says nothing."""
        if code == CANNOT_WRITE:
            raise HostError(
                f"{self.root} cannot be written: free space (`fromzero gc`), then run again; its log: {log}"
            )
        try:
            status = json.loads(self.status_file.read_bytes())
        except (FileNotFoundError, ValueError):
            raise ChildKilled(f"the child process exited without a status ({_how(code)}); its log: {log}") from None
        if status["ok"]:
            return dict(status["stats"])
        with suppress(OSError), log.open("a") as file:  # for whoever looks further: not for the terminal
            file.write(status["traceback"])
        kind = KINDS.get(status["kind"], StepError)
        raise kind(status["message"]) from RuntimeError(f"in {log}:\n{status['traceback']}")


def _how(code: int) -> str:
    with suppress(ValueError):
        return signal.Signals(-code if code < 0 else code - 128).name
    return f"exit code {code}"


def encode(value: Any) -> Any:
    """An input as JSON."""
    if isinstance(value, Artifact):
        files = [[file.path, file.size, file.sha256] for file in value.files]
        root = str(value.root) if value.root is not None else None
        return {"artifact": value.ref(), "stats": dict(value.stats), "root": root, "files": files}
    if isinstance(value, tuple):
        return {"tuple": [encode(item) for item in value]}
    return {"value": value}


def decode(encoded: Any) -> Any:
    """The input that `encode` has made JSON of."""
    if "tuple" in encoded:
        return tuple(decode(item) for item in encoded["tuple"])
    if "artifact" not in encoded:
        return encoded["value"]
    ref, files = encoded["artifact"], tuple(FileEntry(*entry) for entry in encoded["files"])
    root = Path(encoded["root"]) if encoded["root"] is not None else None
    return Artifact(
        ref["step"], ref["key"], ref["digest"], encoded["stats"], ref["shard"], ref["part"], root=root, files=files
    )
