"""torchrun's agent, which here also finds a hang, and does not start again what would only fail again."""

from __future__ import annotations

import json
import os
import signal
import sys
import uuid
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

from torch.distributed.elastic.agent.server.api import RunResult, WorkerGroup, WorkerState
from torch.distributed.elastic.agent.server.local_elastic_agent import LocalElasticAgent
from torch.distributed.elastic.rendezvous import RendezvousConnectionError, RendezvousTimeoutError
from torch.distributed.launcher import api

from tasks.training.cluster import rendezvous
from tasks.training.cluster.heartbeat import PULSE
from tasks.training.cluster.node_address import ALONE
from tasks.training.cluster.watchdog import Watch, state_of
from tasks.training.job import Job, write_status
from tasks.training.planning.out_of_memory import kernel_kills, out_of_memory

LEAVING = 60.0
"""Seconds in which an agent that is done waits for those of the other nodes, one of which may have been killed."""


class Agent(LocalElasticAgent):
    """Starts the training processes of this machine, watches them, and starts them again from the newest checkpoint.

    Not started again are those that have said in the status file that they are done, or failed for a reason that a
    restart does not cure.
    """

    job: ClassVar[Job]
    watch: ClassVar[Watch | None]

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(exit_barrier_timeout=LEAVING, **kwargs)
        self.kills = kernel_kills()

    def _initialize_workers(self, worker_group: WorkerGroup) -> None:
        # What a process of this node wrote when the last round broke off must not be taken for how the next one ends;
        # all nodes have come this far before it begins.
        status = read_status(self.job)
        if status is not None and status["kind"] == "Transient":
            self.job.status_file.unlink(missing_ok=True)
        super()._initialize_workers(worker_group)

    def _rendezvous(self, worker_group: WorkerGroup) -> None:
        super()._rendezvous(worker_group)
        # Without it a new process may read in the store what one that is dead has left there.
        assert worker_group.store is not None
        if worker_group.group_rank == 0:
            worker_group.store.set("round", uuid.uuid4().hex)
        os.environ[rendezvous.ROUND] = worker_group.store.get("round").decode()

    def _restart_workers(self, worker_group: WorkerGroup) -> None:
        if worker_group.state == WorkerState.HEALTHY:  # its own processes have not yet seen that some are gone
            print(f"a node has come: starting all again from the {_checkpoint(self.job)}", flush=True)
        super()._restart_workers(worker_group)

    def _monitor_workers(self, worker_group: WorkerGroup) -> RunResult:
        self._end_hang({worker.global_rank: int(worker.id) for worker in worker_group.workers})
        result: RunResult = super()._monitor_workers(worker_group)
        if result.state in (WorkerState.UNHEALTHY, WorkerState.FAILED):
            self._stop_workers(worker_group)  # so that none of them writes a status later
            self._judge(result)
        return result

    def _end_hang(self, ranks: dict[int, int]) -> None:
        """If a process has been silent for too long, log what all of them do, and kill them."""
        silent = self.watch.look(ranks.values()) if self.watch is not None else []
        if self.watch is None or not silent:
            return
        stopped = {rank: state for rank, pid in ranks.items() if (state := state_of(pid)) is not None}
        who = ", ".join(f"rank {rank} {state}" for rank, state in stopped.items())
        who = who or "silent: rank " + ", ".join(str(rank) for rank, pid in ranks.items() if pid in silent)
        message = f"training hangs: nothing done in {self.watch.limit:g} s ({who})"
        for rank, said in self.watch.stacks(ranks).items():
            print(f"rank {rank}, {said}", flush=True)
        write_status(self.job.status_file, ok=False, kind="Transient", message=message)
        for pid in ranks.values():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.watch.forget()

    def _judge(self, result: RunResult) -> None:
        """Prepare for a restart, or see to it that there is none."""
        job, status = self.job, read_status(self.job)
        if job.shared is not None and (status is None or status["kind"] == "Transient"):
            # What another node died of; here it was only seen to be gone.
            status = self._take(rendezvous.told()) or status
        killed = any(failure.exitcode == -signal.SIGKILL for failure in result.failures.values())
        if killed and kernel_kills() > self.kills:
            job.status_file.unlink(missing_ok=True)
            message = out_of_memory("memory: the kernel has ended a process", job.conf.run, cuda=False)
            write_status(job.status_file, ok=False, kind="HostError", message=message)
            status = read_status(job)
        if job.stop_file.exists() or not (status is None or status["kind"] == "Transient"):
            self._remaining_restarts = 0
        elif self._remaining_restarts > 0:
            job.status_file.unlink(missing_ok=True)
            why = status["message"] if status else "a training process was ended by a signal or lost"
            print(
                f"{why}: starting all again from the {_checkpoint(job)}, "
                f"{self._remaining_restarts} of {job.conf.run.max_restarts} restarts left",
                flush=True,
            )

    def _take(self, status: dict[str, Any] | None) -> dict[str, Any] | None:
        """Make a status this node's, unless it is one that a restart may cure."""
        if status is None or status["kind"] == "Transient":
            return None
        self.job.status_file.unlink(missing_ok=True)
        write_status(self.job.status_file, **status)
        return status


def _checkpoint(job: Job) -> str:
    return f"checkpoint of step {step}" if (step := job.work.progress) else "newest checkpoint"


def read_status(job: Job) -> dict[str, Any] | None:
    """What stands in a job's status file; None without one."""
    try:
        status: dict[str, Any] = json.loads(job.status_file.read_bytes())
    except FileNotFoundError:
        return None
    return status


def run(arguments: Sequence[str]) -> None:
    """torchrun with these arguments, the last of which are a worker's module and the path of its job, and with this
    agent."""
    from torch.distributed.run import main

    job: Job = import_module(arguments[-2]).JOB.read(Path(arguments[-1]))
    limit = job.conf.run.hang_timeout
    with TemporaryDirectory(prefix="fromzero-heartbeat-") as folder:
        os.environ[PULSE] = folder
        rendezvous.register(Path(folder), job)
        Agent.job, Agent.watch = job, None if limit is None else Watch(Path(folder), limit)
        setattr(api, "LocalElasticAgent", Agent)  # noqa: B010 - torch has no other door for one's own agent
        try:
            main(list(arguments))
        except (RendezvousTimeoutError, RendezvousConnectionError):
            sys.exit(ALONE)
