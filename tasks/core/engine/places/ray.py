"""A Ray cluster: bodies are Ray tasks with the cores, memory and GPUs that their steps ask for.

Ray finds room for them and says when a node is lost; retries, keys and leases are the run's alone.
"""

from __future__ import annotations

import logging
import os
import threading
from functools import cache
from typing import Any

from tasks.core.engine.job_file import JobFile
from tasks.core.engine.launcher import Launcher
from tasks.core.engine.remote.caller import Remote, Sent
from tasks.core.engine.remote.carrier import carry, store_given
from tasks.core.errors import ChildKilled, FromzeroError, HostError, missing_part

_connecting = threading.Lock()


class Task(Sent):
    """A task of Ray."""

    def __init__(self, ray: Any, ref: Any, address: str) -> None:
        self._ray, self._ref, self._address = ray, ref, address

    def gone(self, now: bool = False) -> FromzeroError | None:
        """See `Sent`."""
        if not self._ray.wait([self._ref], timeout=0)[0]:
            return None
        try:
            return ChildKilled(f"its task on Ray has ended: {self._ray.get(self._ref)}")
        except Exception as error:  # of any kind that Ray has for lost nodes and workers
            said = str(error).strip().partition("\n")[0]
            return ChildKilled(f"its task on Ray was lost: {type(error).__name__}: {said}")

    def waits(self) -> str:
        """See `Sent`."""
        return f"waits for room on the Ray cluster {self._address}: `ray status` shows what is taken"

    def withdraw(self, dead: bool) -> None:
        """See `Sent`."""
        self._ray.cancel(self._ref, force=dead)


class Ray(Remote):
    """One cluster."""

    def __init__(self, address: str | None = None) -> None:
        """`address` as Ray takes it; None: RAY_ADDRESS, else a cluster that was started on this machine."""
        super().__init__()
        self._address = address

    @property
    def address(self) -> str:
        """Of the cluster."""
        return self._address or os.environ.get("RAY_ADDRESS") or "auto"

    def check(self) -> None:
        """See `Launcher`."""
        self._connected()

    def _connected(self) -> Any:
        try:
            import ray
        except ModuleNotFoundError:
            raise HostError(f"engine.places names ray: {missing_part('ray')}") from None
        with _connecting:
            if not ray.is_initialized():
                try:
                    ray.init(self.address, log_to_driver=False, logging_level=logging.ERROR, ignore_reinit_error=True)
                except (ConnectionError, RuntimeError, TimeoutError) as error:
                    raise HostError(
                        f"no Ray cluster answers at {self.address} ({str(error).partition(chr(10))[0]}): start one "
                        "(`ray start --head`), or let RAY_ADDRESS name it"
                    ) from error
                ray._private.worker._worker_logs_enabled = False  # it would write among a command's answer
        return ray

    def send(self, job: JobFile, ticket: str) -> Sent:
        """See `Remote`."""
        ray = self._connected()
        asked = job.resources
        task = ray.remote(carry).options(
            num_cpus=asked["cpu"],
            num_gpus=asked["gpu"] if asked["gpu_must"] else 0,
            memory=int(asked["memory_gb"] * 1e9),
            max_retries=0,
            name=job.entry.partition(":")[2],
        )
        return Task(ray, task.remote(job.artifact, ticket, store_given()), self.address)


@cache
def place(address: str) -> Launcher:
    """The cluster at that address."""
    return Ray(address)


PLACE: Launcher = Ray()
