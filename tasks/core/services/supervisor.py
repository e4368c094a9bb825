"""The supervisor: the one process that keeps the services of a home running.

Started as `python -m tasks.core.services.supervisor HOME [PORT]`. It stops them once nobody holds users.lock any more
and up.json is gone, also when the last run was killed.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import re
import signal
import socket
import sys
import threading
import time
import traceback
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from conf.schema.services import ServicesConf
from tasks.core import interpreter
from tasks.core.errors import FromzeroError
from tasks.core.services import access, final_states, guard, missed_runs
from tasks.core.services.server_record import folder, record_file
from tasks.core.services.servers import GIVEN_UP, WATCH_EVERY, answers, its_database, migrate, wanted
from tasks.core.services.supervised import Service, free_port
from tasks.core.small_files import write_atomically
from tasks.core.store.lease import lock_file

MOST_RESTARTS = 5
"""How often in a row a server that dies while runs use it is started again, on the same port."""
SETTLE_EVERY = 20.0
"""Seconds between looks of a keeper, after `up`, whether a run has died."""
RECORDER = {
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "25",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
}
"""How the server takes in what it is told: several events in a transaction; places in deployments outlive it."""
RUN_GRACE = 35.0
"""Seconds that the worker has to leave: more than a run has to save."""
PREFECT_APP = "prefect.server.api.server:create_app"
MLFLOW_APP = "mlflow.server.fastapi_app:app"
WORKER = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "WARNING", "PREFECT_WORKER_QUERY_SECONDS": "3"}
"""What the worker's runs write, and how often in seconds it looks for new ones."""


def guarded(host: str, port: int) -> list[str]:
    """The command of a server behind the guard."""
    command = interpreter.command("-m", "uvicorn", "--factory", "tasks.core.services.guard:app")
    command += ["--host", host, "--port", str(port), "--log-level", "warning"]
    return [*command, "--timeout-graceful-shutdown", "3"]


def asked_for(host: str, port: int, names: tuple[str, ...]) -> list[str]:
    """The Host headers by which a server is asked for: this machine's, and `names`, also as a proxy at port 80 or 443
    hands them on."""
    everywhere = host in ("0.0.0.0", "::")
    own = {socket.gethostname().lower(), socket.getfqdn().lower()} if everywhere else {host.lower()}
    found = {"127.0.0.1", "localhost", "[::1]", *names, *(f"[{name}]" if ":" in name else name for name in own)}
    return sorted({*names, *(name if re.search(r":\d+$", name) else f"{name}:{port}" for name in found)})


class Keeper:
    """The one process that keeps the services of a home running."""

    def __init__(self, home: Path, port: int | None = None) -> None:
        """`port` is that of a keeper before this one, whose clients go on."""
        self.home, self.logs = home, home / "logs" / "services"
        conf = wanted(home)
        self.host = conf.host if conf else "127.0.0.1"
        self.fixed = conf is not None
        self.port = conf.prefect_port if conf else port or free_port()
        self.near = "127.0.0.1" if self.host == "0.0.0.0" else self.host
        self.names = conf.names if conf else ()
        self.api = f"http://{self.near}:{self.port}/api"
        self.client = {"PREFECT_API_URL": self.api, "PREFECT_API_AUTH_STRING": ":".join(access.credentials(home))}
        """How Prefect's clients reach the server."""
        self.services = {"prefect": self._prefect()}
        self.worker = f"{platform.node()}-{os.getpid()}"
        """The worker's name: one that an earlier keeper left behind may count as online for a while."""
        self.asked: ServicesConf | None = None
        self._began = datetime.now(UTC)
        self._settled = threading.Event()
        """The runs that died before are known to Prefect: their places in deployments are free for new ones."""
        self._written: bytes = b""

    def _prefect(self) -> Service:
        hosts = asked_for(self.host, self.port, self.names)
        environ = {**RECORDER, "PREFECT__SERVER_FINAL": "1", "PREFECT_UI_API_URL": "/api", **self.client}
        environ |= its_database(self.home)
        environ["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] = self.api.removesuffix("/api")
        environ |= guard.told(PREFECT_APP, True, hosts, self.home)
        return Service("prefect", guarded(self.host, self.port), self.logs / "prefect.log", environ)

    def _mlflow(self, conf: ServicesConf) -> Service:
        from tasks.core.tracking.mlflow_db import prepare

        uri, hosts = prepare(self.home), asked_for(conf.host, conf.mlflow_port, conf.names)
        # What `mlflow server` hands to its application, which stands behind the guard here (3.17).
        environ = {
            "_MLFLOW_SERVER_FILE_STORE": uri,
            "_MLFLOW_SERVER_REGISTRY_STORE": uri,
            "_MLFLOW_SERVER_ARTIFACT_ROOT": "mlflow-artifacts:/",
            "_MLFLOW_SERVER_SERVE_ARTIFACTS": "true",
            "_MLFLOW_SERVER_ARTIFACT_DESTINATION": str(self.home / "mlflow" / "artifacts"),
            "_MLFLOW_SGI_NAME": "uvicorn",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_SERVER_ALLOWED_HOSTS": ",".join(hosts),
            "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS": ",".join(f"http://{host}" for host in hosts),
        }
        environ |= guard.told(MLFLOW_APP, False, hosts, self.home)
        return Service("mlflow", guarded(conf.host, conf.mlflow_port), self.logs / "mlflow.log", environ)

    def _worker(self, conf: ServicesConf) -> Service:
        command = interpreter.command("-m", "prefect", "worker", "start", "--type", "process", "--pool", conf.pool)
        command += ["--name", self.worker, "--limit", str(conf.limit)]
        environ = {**self.client, **WORKER}
        environ["FROMZERO_HOME"] = str(self.home)
        threading.Thread(target=self._settle, name="settle", daemon=True).start()

        def ready() -> bool:
            return self._settled.is_set() and answers(self.api)

        return Service("worker", command, self.logs / "worker.log", environ, ready=ready, grace=RUN_GRACE)

    def _settle(self) -> None:
        """Let Prefect know of runs that died, those before this keeper first; nobody else may come for days."""
        while self.asked is not None or not self._settled.is_set():
            if answers(self.api):
                try:
                    final_states.the_dead(self.home, self.api, lambda text: print(text, flush=True))
                    if not self._settled.is_set():
                        final_states.the_taken(self.home, self.api, self._began)
                        missed_runs.once(self.api, self._began)
                    self._settled.set()
                except (FromzeroError, OSError) as error:
                    print(f"what died is not settled yet: {error}", flush=True)
            time.sleep(SETTLE_EVERY if self._settled.is_set() else WATCH_EVERY)

    def look(self) -> None:
        """Start what is asked for and does not run, stop what is not asked for any more, and say how things are."""
        conf = wanted(self.home)
        if conf != self.asked:
            for name in ("worker", "mlflow"):
                if name in self.services:
                    self.services.pop(name).stop()
            if conf is not None and os.environ.get("MLFLOW_TRACKING_URI") is None:
                self.services["mlflow"] = self._mlflow(conf)
            self.asked = conf
            if conf is not None:
                self.services["worker"] = self._worker(conf)
        for service in self.services.values():
            service.look()
        self._say()

    def _say(self) -> None:
        found: dict[str, Any] = {"url": self.api, "pid": os.getpid(), "version": version("prefect"), "asks": True}
        found["prefect"] = self.api.removesuffix("/api")
        if self.asked is not None and "mlflow" in self.services:
            found["mlflow"] = f"http://{self.near}:{self.asked.mlflow_port}"
        found["worker"] = self.worker
        found["services"] = {name: service.status() for name, service in self.services.items()}
        data = json.dumps(found).encode()
        if data != self._written:
            write_atomically(record_file(self.home), data)
            self._written = data

    def given_up(self) -> bool:
        """Without `up`, a server that keeps dying is not started for ever: the run that waits says so."""
        return self.asked is None and self.services["prefect"].in_a_row > MOST_RESTARTS

    def stop(self) -> None:
        """Stop all services, the server last."""
        for name in ("worker", "mlflow", "prefect"):
            if name in self.services:
                self.services[name].stop()


def keep(home: Path, port: int | None = None) -> int:
    """Keep the services running until nobody needs them; the exit code."""
    os.umask(0o077)
    os.environ["FROMZERO_HOME"] = str(home)
    held = lock_file(folder(home) / "keeper.lock")
    migrate(home)
    keeper = Keeper(home, port)
    with (folder(home) / "users.lock").open("ab") as users:
        while True:
            try:
                keeper.look()
            except (OSError, FromzeroError):  # a full disk, say: what runs goes on, and is looked at again
                traceback.print_exc()
            if keeper.given_up():
                break
            time.sleep(0.5)
            if wanted(home) is not None:
                continue
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                continue
        if keeper.fixed or keeper.asked is not None:  # whoever comes next needs the same ports
            keeper.stop()
        record_file(home).unlink(missing_ok=True)
        held.release()
    keeper.stop()
    return GIVEN_UP if keeper.given_up() else 0


if __name__ == "__main__":
    signal.signal(signal.SIGINT, lambda *_: None)  # SIG_IGN would pass to the worker, which leaves by it
    sys.exit(keep(Path(sys.argv[1]), *(int(port) for port in sys.argv[2:])))
