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
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Protocol, get_type_hints

from tasks.core import events, interpreter
from tasks.core.engine.job_file import CANNOT_WRITE, JobFile, decode
from tasks.core.engine.launcher import GRACE, Limits, Listener
from tasks.core.errors import FromzeroError, HostError, StepError, from_exception
from tasks.core.plan.fingerprint import fingerprint, fingerprint_now
from tasks.core.small_files import clear, write_atomically
from tasks.core.step import Resources, Step, load
from tasks.core.store.lease import Lease, stopping
from tasks.core.urls import bare
from tasks.core.workdir import Workdir


class Child(Protocol):
    """A process at the head of a group of its own: a `Popen`, or what can as much."""

    pid: int
    stdout: IO[bytes] | None

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, or minus the signal that ended it; raises `subprocess.TimeoutExpired`."""


Begin = Callable[[Path, Mapping[str, str], int, tuple[int, ...]], AbstractContextManager[Child]]
"""`begin(job, environ, lifeline, held)` starts a child for a job file, with these variables in addition and these
descriptors open; its id is its own while inside."""

_groups: dict[int, Child] = {}
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


@contextmanager
def spawned(job: Path, environ: Mapping[str, str], lifeline: int, held: tuple[int, ...]) -> Iterator[Child]:
    """A child that is a new Python."""
    yield subprocess.Popen(
        interpreter.command("-m", "tasks.core.engine.child_process", str(job), str(lifeline)),
        cwd=job.parent,  # what a library leaves beside it goes with the work directory
        env=environment(environ),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=[lifeline, *held],
        start_new_session=True,
    )


def environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a child, with these variables in addition."""
    return {**interpreter.environment(), **environ, "PYTHONUNBUFFERED": "1"}


def run_child(job: JobFile, lease: Lease, listener: Listener, begin: Begin = spawned) -> dict[str, Any]:
    """Run a job, whose file is written, in a child process group; returns its stats.

    Raises what the child's status says, `ChildKilled` if it ended without one, `StepError` after its time.
    """
    read_end, write_end = os.pipe()
    with ExitStack() as until_it_is_gone:
        try:
            child = until_it_is_gone.enter_context(begin(job.path.absolute(), job.environ, read_end, lease.fds))
        except BaseException:
            os.close(write_end)
            raise
        finally:
            os.close(read_end)
        assert child.stdout is not None
        with _groups_lock:
            _groups[child.pid] = child
        if listener.begun is not None:
            listener.begun(child.pid)
        if stopping.is_set():
            _signal_group(child.pid, signal.SIGTERM)
        reader = threading.Thread(
            target=listener.follow, args=(child.stdout, job.environ.get(events.WORD)), daemon=True
        )
        reader.start()
        try:
            with suppress(BrokenPipeError):
                os.write(write_end, go(child.pid))
            why = _watch(child, Limits(job.timeout, lease, listener.log))
        finally:
            _signal_group(child.pid, signal.SIGKILL)
            os.close(write_end)
            with _groups_lock:
                _groups.pop(child.pid, None)
    reader.join(timeout=5)
    if not reader.is_alive():
        child.stdout.close()
    if why is not None:
        raise why
    return job.stats(child.wait(), listener.log)


def go(pid: int) -> bytes:
    """What tells a child, in its life line, that its id is known and it may begin; a spawned one has not waited."""
    return b"%d\n" % pid


def _watch(child: Child, limits: Limits) -> FromzeroError | None:
    """Wait for the child; end its group when a limit is passed, and say which."""
    while True:
        with suppress(subprocess.TimeoutExpired):
            child.wait(1.0)
            return None
        if (why := limits.passed()) is not None:
            end_group(child)
            return why


def _signal_group(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def end_group(child: Child, grace: float = GRACE) -> None:
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


def asked(job: JobFile) -> tuple[Step, Any]:
    """The step and its options."""
    from pydantic import TypeAdapter

    step = load(job.entry)
    hint: Any = get_type_hints(step.function, include_extras=True).get("conf")
    return step, TypeAdapter[Any](hint).validate_python(job.conf) if job.conf is not None else None


def _carry_out(job: JobFile) -> dict[str, Any]:
    """Call the step's function."""
    step, conf = asked(job)
    stats = step.function(*(decode(item) for item in job.inputs), conf=conf, work=Workdir(Path(job.root)))
    if job.code is not None and fingerprint_now(step.of(conf)).digest != job.code:
        raise StepError("its code was edited while the run was under way: run again")
    return stats


def prepare(job_file: Path) -> None:
    """Load what carrying a job out takes, short of the step's function; this process is to be forked."""
    job = JobFile.read(job_file)
    step, conf = asked(job)
    if job.code is not None:
        fingerprint(step.of(conf))


def _die_with_parent(pipe: int) -> None:
    """The pipe closes when the parent is gone, however it went: then the whole group goes too."""
    while os.read(pipe, 1):
        pass
    os.killpg(os.getpgrp(), signal.SIGKILL)


def main(job_file: str, pipe: str | None = None) -> int:
    """Run one job, leaving status.json in its work directory; the exit code repeats whether it went well.

    With the read end of a `pipe` this process and its group end with whoever holds the other end.
    """
    if pipe is not None:
        threading.Thread(target=_die_with_parent, args=(int(pipe),), daemon=True).start()
    job = JobFile.read(Path(job_file))
    os.environ.update(job.environ)  # of a place that starts processes with no variables of ours
    try:
        stats = _carry_out(job)
        status = {"ok": True, "stats": stats}
        data = json.dumps(status, allow_nan=False).encode()
    except Exception as error:
        known, trace = from_exception(error), bare(traceback.format_exc())
        status = {"ok": False, "kind": type(known).__name__, "message": str(known), "traceback": trace[-20_000:]}
        data = json.dumps(status).encode()
        if isinstance(known, HostError):
            clear(Path(job.root) / "content")  # on a full disk this makes room for the status
    try:
        write_atomically(job.status_file, data)
    except OSError:
        traceback.print_exc()
        return CANNOT_WRITE
    return 0 if data.startswith(b'{"ok": true') else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
