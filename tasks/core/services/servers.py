"""The servers of a home: Prefect's for as long as a run uses it, and all that `fromzero up` asks for until `down`.

Every run holds a shared flock on users.lock; keeper.py keeps the servers running while anybody does. A keeper that dies
is started again, on its port, by the runs that use its server.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import suppress
from http.client import HTTPException
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from conf.schema.services import ServicesConf
from tasks.core import interpreter
from tasks.core.databases import home_databases
from tasks.core.databases.migration import migrate as migrate_database
from tasks.core.errors import FromzeroError, HostError
from tasks.core.services import access, prefect_api
from tasks.core.services.server_record import asked_file, folder, record_file
from tasks.core.services.supervised import check_port, end_groups
from tasks.core.small_files import write_atomically
from tasks.core.store.lease import lock_file
from tasks.core.urls import bare

START_LIMIT = 600.0
"""Seconds that a server that lives may take to answer; a fresh database alone takes 40, and minutes on a slow disk."""
ANSWER_LIMIT = 20.0
"""Seconds that a page of a server that listens may take; where nobody listens that is known at once."""
WATCH_EVERY = 0.5
"""Seconds between looks of a run whether the keeper lives."""
CLIENT_RETRIES = "8"
"""How often Prefect's client repeats a request that fails, each time after twice as many seconds."""
MIGRATED = "migrated-"
"""How the files begin that say which version of Prefect the database is for."""
GIVEN_UP = 3
"""Exit code of a keeper whose server does not stay up."""
HEARTBEAT = 30
"""Seconds between the signs of life of a run on the worker; three missed ones and Prefect calls it crashed."""
OF_A_RUN = (
    "FROMZERO_STORE", "PREFECT__", "PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_API_KEY",
    "PREFECT_SERVER_API_AUTH_STRING",
)  # fmt: skip
"""How the variables begin that concern the run which starts the keeper, and nobody after it."""


def environment(home: Path) -> dict[str, str]:
    """The settings that the server and every client of this home share."""
    return {
        "PREFECT_HOME": str(folder(home)),
        "PREFECT_PROFILES_PATH": str(folder(home) / "profiles.toml"),  # else one may be named in the folder of a person
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_API_DATABASE_MIGRATE_ON_START": "false",
        "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
        "DO_NOT_TRACK": "1",
    }


def migrate(home: Path) -> None:
    """Create or migrate the database; a look at two files when this version of Prefect left it as it is now.

    Raises `HostError`, the database untouched, if another version of Prefect made it.
    """
    database, done = home_databases.prefect(home), folder(home) / f"{MIGRATED}{version('prefect')}"
    lease = lock_file(folder(home) / "migrate.lock")
    try:
        if not done.exists() or done.read_text() != database.revision():
            command = interpreter.command("-m", "prefect", "server", "database", "upgrade", "-y")
            assert lease.fd is not None
            around = {**interpreter.environment(), **environment(home), **its_database(home)}
            versions = f"server/database/_migrations/versions/{database.dialect}"
            migrate_database("Prefect", database, versions, command, lease.fd, folder(home), around)
            write_atomically(done, database.revision().encode())
    finally:
        lease.release()


def its_database(home: Path) -> dict[str, str]:
    """The setting by which Prefect's server finds its database; no password is in it."""
    database = home_databases.prefect(home)
    return {"PREFECT_API_DATABASE_CONNECTION_URL": database.asyncio_uri} if home_databases.chosen(home) else {}


def migrated(home: Path) -> list[str]:
    """The versions of Prefect that made or migrated the database."""
    return sorted(path.name.removeprefix(MIGRATED) for path in folder(home).glob(f"{MIGRATED}*"))


class Membership:
    """This process's use of the home's server."""

    def __init__(self, home: Path) -> None:
        self.home = home
        folder(home).mkdir(parents=True, exist_ok=True)
        self._users: IO[bytes] | None = (folder(home) / "users.lock").open("ab")
        fcntl.flock(self._users, fcntl.LOCK_SH)
        self._keeper: subprocess.Popen[bytes] | None = None
        self._port: int | None = None
        self._left = threading.Event()
        while (found := running(home)) is None:
            self._start()
        if found["version"] != version("prefect"):
            self.leave()
            raise HostError(
                f"a Prefect server of version {found['version']} (process {found['pid']}) serves {home}, and this "
                f"command has Prefect {version('prefect')}: `fromzero down` ends it and the runs that use it"
            )
        self._port = urlsplit(found["url"]).port
        threading.Thread(target=self._watch, name="keeper", daemon=True).start()

    def _watch(self) -> None:
        """Start the keeper again if it dies: the server's clients try again for longer than that takes."""
        while not self._left.wait(WATCH_EVERY):
            if running(self.home) is None:
                if self._keeper is not None and self._keeper.poll() == GIVEN_UP:
                    return
                try:
                    self._start()
                except (FromzeroError, OSError) as error:  # a port that is still being left, a full disk: tried again
                    print(f"{time.ctime()}: the keeper is not started again yet: {error}", file=sys.stderr)

    def _start(self) -> None:
        """Start a keeper if there is none; one that is killed meanwhile is for the caller to start again."""
        lease = lock_file(folder(self.home) / "start.lock")
        try:
            if running(self.home) is None:
                if home_databases.prefect(self.home).exists():  # else the server makes it while this process plans
                    migrate(self.home)
                _clear(self.home)
                if (conf := wanted(self.home)) is not None:
                    check_port(conf.host, conf.prefect_port, "prefect_port")
                environ = interpreter.environment() | environment(self.home)
                environ = {name: value for name, value in environ.items() if not name.startswith(OF_A_RUN)}
                port = [] if self._port is None else [str(self._port)]
                with (folder(self.home) / "server.log").open("ab") as log:
                    self._keeper = subprocess.Popen(
                        interpreter.command("-m", "tasks.core.services.supervisor", str(self.home), *port),
                        cwd=folder(self.home),
                        env=environ,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                self._await(lambda: running(self.home) is not None or self._killed())
        finally:
            lease.release()

    def _killed(self) -> bool:
        return self._keeper is not None and (self._keeper.poll() or 0) < 0

    def _await(self, ready: Any) -> None:
        deadline = time.monotonic() + START_LIMIT
        while not ready():
            ended = self._keeper is not None and self._keeper.poll() is not None and not self._killed()
            if ended or time.monotonic() > deadline:
                logs = (folder(self.home) / "server.log", self.home / "logs" / "services" / "prefect.log")
                said = "\n".join(f"{log}:\n{log.read_text()[-1500:]}" for log in logs if log.exists())
                raise HostError(f"the Prefect server did not start; the ends of its logs:\n{said}")
            time.sleep(0.05)

    def url(self) -> str:
        """The API's URL, once the server answers; raises `HostError` if it does not."""
        self._await(lambda: (found := running(self.home)) is not None and _serves(found))
        found = running(self.home)
        assert found is not None
        return str(found["url"])

    def environ(self) -> dict[str, str]:
        """How a client finds the server, once it answers, and that it is to wait for one that is started again."""
        return {**client(self.home, self.url()), "PREFECT_CLIENT_MAX_RETRIES": CLIENT_RETRIES}

    def leave(self) -> None:
        """Stop using the server; the last one to leave lets it stop."""
        self._left.set()
        if self._users is not None:
            self._users.close()
            self._users = None


def clear(home: Path) -> None:
    """End what a killed keeper has left, so that its ports are free; one that lives, or starts now, is left alone."""
    if record_file(home).exists():
        lease = lock_file(folder(home) / "start.lock")
        try:
            _clear(home)
        finally:
            lease.release()


def _clear(home: Path) -> None:
    file = record_file(home)
    try:
        left = dict(json.loads(file.read_bytes())).get("services", {}).values()
    except (FileNotFoundError, ValueError):
        left = ()
    if running(home) is None:
        if pids := {about["pid"] for about in left if about["pid"] is not None}:
            end_groups(home / "logs" / "services", pids)
        file.unlink(missing_ok=True)


def running(home: Path) -> dict[str, Any] | None:
    """What the record says, if the keeper that wrote it lives (it holds keeper.lock)."""
    try:
        found = dict(json.loads(record_file(home).read_bytes()))
        with (folder(home) / "keeper.lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return None
    except BlockingIOError:
        return found
    except (FileNotFoundError, ValueError):
        return None


def serves(home: Path, url: str | None) -> bool:
    """Whether an API is that of the home's own server, as it runs now."""
    found = running(home)
    return found is not None and found["url"] == url


def _serves(found: dict[str, Any]) -> bool:
    """The keeper's own server runs and answers: what answers on its port might be another's."""
    return found["services"]["prefect"]["pid"] is not None and answers(found["url"])


def client(home: Path, url: str) -> dict[str, str]:
    """The settings by which Prefect's client reaches the home's own server."""
    return {"PREFECT_API_URL": url, "PREFECT_API_AUTH_STRING": ":".join(access.credentials(home))}


def asks(home: Path) -> bool:
    """Whether the servers that run ask who it is: those that an earlier version started answer everybody."""
    return bool((running(home) or {}).get("asks"))


def check_given(url: str) -> None:
    """Raise `HostError` if no Prefect server answers at the address in PREFECT_API_URL, or it does not let us in."""
    if not answers(url):
        raise HostError(
            f"PREFECT_API_URL={bare(url)}: no Prefect server answers there: start it (or fix the address, which ends "
            "in /api), or unset PREFECT_API_URL to let each run start a server of its own"
        )
    prefect_api.ask(url, "flows/count", {})


def answers(url: str) -> bool:
    """The health page of the Prefect API at `url` answers."""
    return healthy(f"{url}/health")


def healthy(page: str) -> bool:
    """A page answers with 200."""
    with suppress(OSError, ValueError, HTTPException), urllib.request.urlopen(page, timeout=ANSWER_LIMIT) as reply:
        return bool(reply.status == 200)
    return False


def pages(home: Path) -> dict[str, str]:
    """Where the pages of Prefect and MLflow are now, by name; only those that are kept running."""
    found = running(home) or {}
    return {name: found[name] for name in ("prefect", "mlflow") if name in found}


def wanted(home: Path) -> ServicesConf | None:
    """What `fromzero up` asked for, until `down`."""
    try:
        return ServicesConf.model_validate_json(asked_file(home).read_bytes())
    except (FileNotFoundError, ValueError):
        return None


def want(home: Path, conf: ServicesConf | None) -> None:
    """Ask the keeper for the services of `conf`, or for none beyond what runs use."""
    if conf is None:
        asked_file(home).unlink(missing_ok=True)
    else:
        write_atomically(asked_file(home), conf.model_dump_json().encode())
