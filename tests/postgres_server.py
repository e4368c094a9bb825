"""A real Postgres server for tests, in a folder of its own, reached by password."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.ports import free_ports

USER = "nobody" if os.name == "posix" and os.geteuid() == 0 else None
"""Postgres does not run as root."""
DEBIAN = Path("/usr/lib/postgresql")


class PostgresServer:
    """`postgres` on a free port; use as a context manager. `url` lacks the password, which is `password`."""

    password = "secret-of-tests"

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))  # sockets want a short path
        (self._port,) = free_ports(1)
        self.url = f"postgresql+asyncpg://tests@127.0.0.1:{self._port}/postgres"
        self._homes = 0

    def __enter__(self) -> Self:
        word = self._folder / "password"
        word.write_text(self.password)
        if USER:
            shutil.chown(self._folder, USER)
            shutil.chown(word, USER)
        self._run("initdb", "-D", self._data, "-U", "tests", f"--pwfile={word}", "-A", "scram-sha-256", "-N",
                  "--locale=C.UTF-8", "-E", "UTF8")  # fmt: skip
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def start(self) -> None:
        """Start, or start again on the same data and port, and wait until it answers."""
        options = f"-p {self._port} -h 127.0.0.1 -k {self._folder} -c fsync=off"
        self._run(
            "pg_ctl", "-D", self._data, "-l", str(self._folder / "log"), "-w", "-t", "300", "-o", options, "start"
        )

    def stop(self) -> None:
        """At once, every connection broken off: it recovers when it is started again."""
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "stop")

    @property
    def pid(self) -> int:
        """The process id of the server, whose children serve one connection each."""
        return int((Path(self._data) / "postmaster.pid").read_text().split()[0])

    @property
    def env(self) -> dict[str, str]:
        """The variable that clients read the password from."""
        return {"PGPASSWORD": self.password}

    def of_a_home(self, user: str = "tests") -> str:
        """A URL for a home of its own, as `fromzero up --postgres` takes it."""
        self._homes += 1
        return f"postgresql://{user}@127.0.0.1:{self._port}/home{self._homes}"

    def execute(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """What a statement gives, executed by the administrator."""
        import psycopg2

        connection = psycopg2.connect(
            host="127.0.0.1", port=self._port, user="tests", password=self.password, dbname=database
        )
        connection.autocommit = True
        with closing(connection), connection.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def _run(self, *command: str) -> None:
        with (self._folder / "said").open("w+") as said:  # a file: a pipe would stay open as long as the server
            done = subprocess.run(
                [_program(command[0]), *command[1:]],
                user=USER,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )
            said.seek(0)
            if done.returncode:
                raise RuntimeError(f"{command[0]} failed: {said.read()}")


def _program(name: str) -> str:
    """Where a program of the server is; Debian keeps it off the path. Raises `RuntimeError` if there is none."""
    found = shutil.which(name) or next(iter(sorted(map(str, DEBIAN.glob(f"*/bin/{name}")), reverse=True)), None)
    if found is None:
        raise RuntimeError("there is no Postgres: apt-get install postgresql")
    return found
