"""Starts the training processes, waits for them, and says in our words how they ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.core import interpreter
from tasks.core.errors import KINDS, ChildKilled, FromzeroError, HostError, StepError
from tasks.training.cluster import bucket_calls
from tasks.training.cluster.node_address import ALONE, BACKEND, HERE, LOOPBACK_ADDRESS, Rendezvous, called, missing
from tasks.training.cluster.parent_watch import PARENT
from tasks.training.job import Job, SharedJob
from tasks.training.planning.out_of_memory import kernel_kills, out_of_memory

MALLOC = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "-1",
    "MALLOC_TOP_PAD_": "268435456",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
GRACE = 20
"""Seconds that torchrun gives its processes to save after a signal."""


def command(job: Job, rendezvous: Rendezvous | None = None, first: bool = True) -> list[str]:
    """The command line of the trainer on this node; of several, which meet, it is the first or another one."""
    run = job.conf.run
    alone = ["--rdzv-backend", BACKEND, "--rdzv-endpoint", HERE, "--rdzv-id", "alone"]
    alone += ["--local-addr", LOOPBACK_ADDRESS]
    elastic = alone if rendezvous is None else rendezvous.options(job, first)
    elastic += ["--nproc-per-node", str(run.processes), "--max-restarts", str(run.max_restarts)]
    # The agent looks after its processes this often: its default would add a tenth of a second to short runs.
    elastic += ["--monitor-interval", "0.05", "--shutdown-timeout", str(GRACE), "-m", job.worker]
    return interpreter.command("-m", "tasks.training.cluster.elastic", *elastic, str(job.config_file))


def environment(job: Job) -> dict[str, str]:
    """This process's environment with what the trainer needs."""
    run = job.conf.run
    extra = {
        PARENT: str(os.getpid()),
        "OMP_NUM_THREADS": str(run.threads),
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        # Else torchrun opens a store of its own (2.13), on all addresses, which our processes do not use.
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
        "TORCHELASTIC_SIGNALS_TO_HANDLE": "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1",
    }
    return {**interpreter.environment(), **extra, **(MALLOC if run.malloc and sys.platform == "linux" else {})}


@contextmanager
def patient(trainer: subprocess.Popen[bytes], stop_file: Path) -> Iterator[list[int]]:
    """Outlive a signal until the trainer has saved, passing it on; yields the signals that came.

    The file says to torchrun's agent that what dies from now on is not to be started again.
    """
    import psutil

    came: list[int] = []

    def pass_on(number: int, frame: object) -> None:
        came.append(number)
        stop_file.touch()
        # Not to torchrun, which has it already if the whole group was meant, and dies of a second one; its processes
        # take any number.
        try:
            for process in psutil.Process(trainer.pid).children():
                process.send_signal(number)
        except psutil.NoSuchProcess:
            return

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def launch(job: Job) -> dict[str, Any]:
    """Train in child processes of this process group, and on the nodes that come when called; returns the statistics.

    Raises what the status file says: `ChildKilled` when interrupted or gone without one, `HostError` out of memory,
    `Transient` when the processes lost each other, else the error of the training code.
    """
    for file in (job.status_file, job.stop_file):
        file.unlink(missing_ok=True)
    job.write()
    kills = kernel_kills()
    together = job.shared is not None and job.nodes.count > 1
    with bucket_calls.called(job) if together and isinstance(job, SharedJob) else called(job) as rendezvous:
        trainer = subprocess.Popen(command(job, rendezvous), env=environment(job))
        with patient(trainer, job.stop_file) as signals:
            trainer.wait()
    try:
        status = json.loads(job.status_file.read_bytes())
    except FileNotFoundError:
        if trainer.returncode == ALONE:
            raise missing(job) from None
        if kernel_kills() > kills:
            raise HostError(out_of_memory("memory: the kernel has ended it", job.conf.run, cuda=False)) from None
        cause = "interrupted" if signals else "ended by a signal or lost"
        raise ChildKilled(f"the trainer was {cause}; its newest checkpoint is of step {job.work.progress}") from None
    if status["ok"]:
        stats: dict[str, Any] = status["stats"]
        return stats
    kind: type[FromzeroError] = KINDS.get(status["kind"], StepError)
    raise kind(status["message"]) from (RuntimeError(status["traceback"]) if "traceback" in status else None)
