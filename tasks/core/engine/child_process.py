"""Child processes: each in a group of its own, supervised, streamed, and never left behind.

As `python -m tasks.core.engine.child_process JOB` this module is the child: it runs one step's function and writes
status.json.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, get_type_hints

from tasks.core import events, interpreter
from tasks.core.artifact import Artifact, FileEntry
from tasks.core.errors import KINDS, ChildKilled, HostError, StepError, from_exception
from tasks.core.events import Event
from tasks.core.plan.fingerprint import fingerprint
from tasks.core.small_files import clear, write_atomically
from tasks.core.step import Call, Resources, load
from tasks.core.store.lease import Lease, stopping
from tasks.core.urls import bare
from tasks.core.workdir import Workdir

GRACE = 25.0
"""Seconds that a child has to save and leave after SIGTERM; under Prefect's own 30."""

CANNOT_WRITE = 74
"""Exit code of a child that cannot even write its status (EX_IOERR)."""

_groups: dict[int, subprocess.Popen[bytes]] = {}
_groups_lock = threading.Lock()


class Slots:
    """The processor cores and the memory that steps share; a step takes what it declares, at most all there is."""

    def __init__(self, cpus: int, memory_gb: float | None = None) -> None:
        self.total = cpus
        self._memory = memory_gb or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
        self._free_cpus, self._free_memory, self._changed = cpus, self._memory, threading.Condition()

    @contextmanager
    def take(self, wanted: Resources) -> Iterator[None]:
        """Hold cores and memory while inside."""
        cpus, memory = min(wanted.cpu, self.total), min(wanted.memory_gb, self._memory)
        with self._changed:
            self._changed.wait_for(lambda: self._free_cpus >= cpus and self._free_memory >= memory)
            self._free_cpus, self._free_memory = self._free_cpus - cpus, self._free_memory - memory
        try:
            yield
        finally:
            with self._changed:
                self._free_cpus, self._free_memory = self._free_cpus + cpus, self._free_memory + memory
                self._changed.notify_all()


def write_job(call: Call, inputs: tuple[Any, ...], work: Workdir) -> Path:
    """Write what the child needs: the step's entry, its inputs, its options."""
    job = {
        "entry": call.step.entry,
        "inputs": [_encode(item) for item in inputs],
        "conf": call.conf.model_dump(mode="json") if call.conf is not None else None,
        "root": str(work.root),
        "code": None if call.step.version or call.step.effect else fingerprint(call.step).digest,
    }
    path = work.root / "job.json"
    write_atomically(path, json.dumps(job).encode())
    (work.root / "status.json").unlink(missing_ok=True)
    return path


def run_child(
    job: Path,
    lease: Lease,
    say: Callable[[str], None],
    environ: Mapping[str, str],
    log: Path,
    timeout: float | None = None,
    begun: Callable[[int], None] | None = None,
    hear: Callable[[Event], object] = lambda event: None,
) -> dict[str, Any]:
    """Run a job in a child process group; returns its stats. `begun` is told the child's process id, `hear` its events,
    `say` its lines of text.

    Raises what the child's status says, `ChildKilled` if it ended without one, `StepError` after `timeout` seconds.
    """
    word = events.word()
    read_end, write_end = os.pipe()
    fds = [read_end, *([lease.fd] if lease.fd is not None else [])]
    try:
        child = subprocess.Popen(
            interpreter.command("-m", "tasks.core.engine.child_process", str(job.absolute()), str(read_end)),
            cwd=job.parent,  # what a library leaves beside it goes with the work directory
            env={**interpreter.environment(), **environ, "PYTHONUNBUFFERED": "1", events.WORD: word},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=fds,
            start_new_session=True,
        )
    finally:
        os.close(read_end)
    with _groups_lock:
        _groups[child.pid] = child
    if begun is not None:
        begun(child.pid)
    if stopping.is_set():
        _signal_group(child.pid, signal.SIGTERM)
    reader = threading.Thread(target=_stream, args=(child, events.Reading(word), say, hear, log), daemon=True)
    reader.start()
    try:
        late = _watch(child, lease, timeout)
    finally:
        _signal_group(child.pid, signal.SIGKILL)
        os.close(write_end)
        with _groups_lock:
            _groups.pop(child.pid, None)
    reader.join(timeout=5)
    return _read_status(job.parent / "status.json", child.returncode, late, log)


def _watch(child: subprocess.Popen[bytes], lease: Lease, timeout: float | None) -> str | None:
    """Wait for the child; end its group when it takes too long or its lease is lost, and say so."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        with suppress(subprocess.TimeoutExpired):
            child.wait(1.0)
            return None
        late = f"took longer than its {timeout:g} s" if deadline and time.monotonic() > deadline else None
        lost = None if lease.held() else "its lease was taken over by another run"
        if late or lost:
            end_group(child)
            return late or lost


def _read_status(path: Path, code: int | None, late: str | None, log: Path) -> dict[str, Any]:
    if late:
        raise (StepError if "longer" in late else ChildKilled)(f"{late}; its log: {log}")
    if code == CANNOT_WRITE:
        raise HostError(f"{path.parent} cannot be written: free space (`fromzero gc`), then run again; its log: {log}")
    try:
        status = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        how = signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"
        raise ChildKilled(f"the child process ended without a word ({how}); its log: {log}") from None
    if status["ok"]:
        return dict(status["stats"])
    with suppress(OSError), log.open("a") as file:  # for whoever looks further: not for the terminal
        file.write(status["traceback"])
    raise KINDS.get(status["kind"], StepError)(status["message"]) from RuntimeError(f"in {log}:\n{status['traceback']}")


def _stream(
    child: subprocess.Popen[bytes],
    reading: events.Reading,
    say: Callable[[str], None],
    hear: Callable[[Event], object],
    log: Path,
) -> None:
    assert child.stdout is not None
    file = None
    with suppress(OSError):  # a log that cannot be written must not hold the child up
        log.parent.mkdir(parents=True, exist_ok=True)
        file = log.open("ab")
    for line in child.stdout:
        raw, event = reading.of(line)
        text = bare(raw.decode(errors="replace"))  # a library may print the URL that it was given
        if text:
            _write(file, text)
            say(text.rstrip())
        if event is not None:
            event = replace(event, text=bare(event.text))
            if event.kind != "progress":
                _write(file, f"{event.said}\n")
            hear(event)
    if file is not None:
        with suppress(OSError):
            file.close()


def _write(file: BinaryIO | None, text: str) -> None:
    if file is not None:
        with suppress(OSError):
            file.write(text.encode())
            file.flush()


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def end_group(child: subprocess.Popen[bytes], grace: float = GRACE) -> None:
    """SIGTERM to a child's group, SIGKILL after the grace time."""
    _signal_group(child.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        child.wait(grace)
    _signal_group(child.pid, signal.SIGKILL)


def end_all(grace: float = GRACE) -> None:
    """End every live group, all at once: for the moment when the run itself has to stop."""
    stopping.set()
    with _groups_lock:
        children = list(_groups.values())
    threads = [threading.Thread(target=end_group, args=(child, grace)) for child in children]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# the child's side


def _encode(value: Any) -> Any:
    if isinstance(value, Artifact):
        files = [[file.path, file.size, file.sha256] for file in value.files]
        root = str(value.root) if value.root is not None else None
        return {"artifact": value.ref(), "stats": dict(value.stats), "root": root, "files": files}
    if isinstance(value, tuple):
        return {"tuple": [_encode(item) for item in value]}
    return {"value": value}


def _decode(encoded: Any) -> Any:
    if "tuple" in encoded:
        return tuple(_decode(item) for item in encoded["tuple"])
    if "artifact" not in encoded:
        return encoded["value"]
    ref, files = encoded["artifact"], tuple(FileEntry(*entry) for entry in encoded["files"])
    root = Path(encoded["root"]) if encoded["root"] is not None else None
    return Artifact(
        ref["step"], ref["key"], ref["digest"], encoded["stats"], ref["shard"], ref["part"], root=root, files=files
    )


@dataclass(frozen=True)
class _Job:
    entry: str
    inputs: list[Any]
    conf: Any
    root: str
    code: str | None
    """What the parent took the step's code to be; None where the key holds a version."""

    def run(self) -> dict[str, Any]:
        """Call the step's function."""
        from pydantic import TypeAdapter

        step, work = load(self.entry), Workdir(Path(self.root))
        hint: Any = get_type_hints(step.function, include_extras=True).get("conf")
        conf = TypeAdapter[Any](hint).validate_python(self.conf) if self.conf is not None else None
        stats = step.function(*(_decode(item) for item in self.inputs), conf=conf, work=work)
        if self.code is not None and fingerprint(step.of(conf)).digest != self.code:
            raise StepError("its code was edited while the run was under way: run again")
        return stats


def _die_with_parent(pipe: int) -> None:
    """The pipe closes when the parent is gone, however it went: then the whole group goes too."""
    os.read(pipe, 1)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def main(job_file: str, pipe: str) -> int:
    """Run one job, leaving status.json beside it; the exit code repeats whether it went well."""
    threading.Thread(target=_die_with_parent, args=(int(pipe),), daemon=True).start()
    path = Path(job_file)
    try:
        stats = _Job(**json.loads(path.read_bytes())).run()
        status = {"ok": True, "stats": stats}
        data = json.dumps(status, allow_nan=False).encode()
    except Exception as error:
        known, trace = from_exception(error), bare(traceback.format_exc())
        status = {"ok": False, "kind": type(known).__name__, "message": str(known), "traceback": trace[-20_000:]}
        data = json.dumps(status).encode()
        if isinstance(known, HostError):
            clear(path.parent / "content")  # on a full disk this makes room for the status
    try:
        write_atomically(path.with_name("status.json"), data)
    except OSError:
        traceback.print_exc()
        return CANNOT_WRITE
    return 0 if data.startswith(b'{"ok": true') else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
