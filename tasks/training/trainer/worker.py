"""One training process, under torchrun: what the modules share that are run as `python -m MODULE JOB.json`.

It says how it ended in the status file; the exit code means nothing more than "look there".
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from conf.schema.train_run import TrainRun
from tasks.core.errors import FromzeroError, HostError, Transient, from_exception
from tasks.training.cluster.heartbeat import show_stacks_when_asked
from tasks.training.cluster.parent_watch import die_with_parent, lock_trainer
from tasks.training.job import Job, write_status
from tasks.training.planning.out_of_memory import lacks_device_memory, lacks_host_memory, out_of_memory

if TYPE_CHECKING:
    from tasks.training.trainer.loop import Loop

J = TypeVar("J", bound=Job)
CONNECTION = ("gloo", "nccl", "connection closed by peer", "connection reset", "timed out", "rendezvous")


def sort_error(error: BaseException, run: TrainRun) -> FromzeroError:
    """A training error as one of ours: memory is the host's, a broken connection may be tried again."""
    failures = getattr(error, "failures", None)  # torch's CheckpointException: {rank: (exception, stack)}
    if isinstance(failures, dict) and failures:
        return sort_error(next(iter(failures.values()))[0], run)
    if isinstance(error, FromzeroError):
        return error
    if lacks_device_memory(error):
        return HostError(out_of_memory("the device's memory", run, cuda=True))
    if lacks_host_memory(error):
        return HostError(out_of_memory("memory", run, cuda=False))
    text = str(error).lower()
    distributed = type(error).__name__.startswith("Dist") or isinstance(error, RuntimeError)
    if distributed and any(word in text for word in CONNECTION):
        return Transient(f"the training processes lost each other: {error}")
    return from_exception(error)


def main(path: Path, kind: type[J], loop: Callable[[], type[Loop[J]]]) -> int:
    """Train as the job says, in a loop that is loaded when it is needed; 0 when it is done or was interrupted and
    saved, else 1."""
    job = kind.read(path)
    try:
        # Before torch is loaded: a trainer that has to wait for another one should not take its memory meanwhile.
        lock = lock_trainer(job.work.scratch / "trainer.lock") if os.environ.get("RANK", "0") == "0" else None
        from tasks.training.trainer.loop import train

        outcome = train(job, loop())
        if outcome is not None:
            write_status(job.status_file, **outcome)
        if lock is not None:
            lock.close()
        return 0
    except BaseException as error:
        ours, trace = sort_error(error, job.conf.run), traceback.format_exc()[-20_000:]
        about = {"kind": type(ours).__name__, "message": str(ours), "traceback": trace, "step": job.work.progress}
        write_status(job.status_file, ok=False, **about)
        if job.shared is not None:
            from tasks.training.cluster.rendezvous import tell

            tell({"ok": False, **about})
        return 1


def run(kind: type[J], loop: Callable[[], type[Loop[J]]]) -> NoReturn:
    """`main` as a process of its own."""
    die_with_parent()
    show_stacks_when_asked()
    code = main(Path(sys.argv[1]), kind, loop)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a thread of a lost process group must not keep a finished trainer alive
