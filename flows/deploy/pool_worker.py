"""`up --pool`: this machine lends itself to steps, as a worker of a Prefect work pool."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from conf.schema.services import POOL_NAME
from flows.runs import standing
from flows.runs.running import make_home
from tasks.core import interpreter
from tasks.core.engine.device_slots import DeviceSlots
from tasks.core.engine.launcher import GRACE
from tasks.core.errors import ConfigError, HostError
from tasks.core.services import servers
from tasks.core.store.open import open_store

WORKER = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING", "PREFECT_WORKER_QUERY_SECONDS": "2"}
"""What the worker writes, and how often in seconds it looks for bodies."""
HEALTH_PORT = "PREFECT_WORKER_WEBSERVER_PORT"
"""Environment variable of Prefect's: where it names a port the worker has a health page there."""
AGAIN_AFTER = 5.0
"""Seconds before a worker that died is started again."""


def serve(home: Path, pool: str, limit: int | None, say: Callable[[str], None]) -> None:
    """Carry out bodies that runs send to a work pool, `limit` at once (None: one for each GPU), until SIGTERM or
    Ctrl-C: those under way then save, and are carried out elsewhere.

    Makes the pool and its deployment if they are not there. Raises `HostError` without a Prefect server or a store.
    """
    if not POOL_NAME.fullmatch(pool):
        raise ConfigError(f"--pool {pool}: names of work pools are letters, digits, . _ and -, 61 at most")
    make_home(home)
    url = _reach(home)
    store = open_store()
    if why := store.unwritable(["fetch_shard"]):
        raise HostError(f"{why}; a worker has to see the store of the runs that it serves (FROMZERO_STORE)")
    standing.prefect_by_environment()
    from flows.deploy import step_pool

    step_pool.prepare(pool)
    count = limit or max(len(DeviceSlots().all), 1)
    name = f"{platform.node()}-{os.getpid()}"
    say(f"serves the work pool {pool} of {url}, {count} at once, as {name}; Ctrl-C ends it")
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    while not ended.is_set():
        worker = _start(home, pool, count, name)
        while worker.poll() is None and not ended.wait(0.5):
            pass
        if ended.is_set():
            _leave(worker)
        elif not ended.wait(AGAIN_AFTER):
            say("the worker died; started again")
    say("ended: what was under way is saved")


def _reach(home: Path) -> str:
    """The API of the server, which the environment of this process names from now on."""
    os.environ["FROMZERO_HOME"] = str(home)
    os.environ.update(servers.environment(home))
    if given := os.environ.get("PREFECT_API_URL"):
        servers.check_given(given)
        if servers.serves(home, given):
            os.environ.update(servers.client(home, given))
        return given
    found = servers.running(home)
    if found is None or servers.wanted(home) is None:
        raise HostError(
            "--pool needs a Prefect server: `fromzero up` first on this machine, or let PREFECT_API_URL (and "
            "PREFECT_API_AUTH_STRING, see `fromzero login --env`) name that of another one"
        )
    os.environ.update(servers.client(home, found["url"]))
    return str(found["url"])


def _start(home: Path, pool: str, limit: int, name: str) -> subprocess.Popen[bytes]:
    command = interpreter.command("-m", "prefect", "worker", "start", "--type", "process", "--pool", pool)
    command += ["--name", name, "--limit", str(limit)]
    command += ["--with-healthcheck"] if HEALTH_PORT in os.environ else []
    environ = {**interpreter.environment(), **WORKER}
    return subprocess.Popen(command, cwd=home, env=environ, stdin=subprocess.DEVNULL, start_new_session=True)


def _leave(worker: subprocess.Popen[bytes]) -> None:
    """Let the bodies save: the worker itself, which would end them at once, is stopped first and ended last."""
    import psutil

    with suppress(ProcessLookupError):
        worker.send_signal(signal.SIGSTOP)
    with suppress(psutil.NoSuchProcess):
        carriers = psutil.Process(worker.pid).children()
        for carrier in carriers:
            with suppress(psutil.NoSuchProcess):
                carrier.terminate()
        psutil.wait_procs(carriers, GRACE + 5)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(worker.pid, signal.SIGKILL)
        if worker.poll() is not None:
            return
        time.sleep(0.1)
