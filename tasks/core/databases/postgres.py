"""A database of a home on a Postgres server.

The password is in no URL and no file of ours: libpq and asyncpg read PGPASSWORD, or ~/.pgpass (PGPASSFILE), by
themselves, and PGSSLMODE with what belongs to it.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tasks.core.errors import HostError, Transient

MAINTENANCE = "postgres"
"""The database that every server has: who makes another one is connected to it."""
CONNECT_LIMIT = 20
"""Seconds until a server that does not answer is given up."""
UNDEFINED = ("42P01", "3F000")
"""SQLSTATE of a table, and of a schema, that is not there."""
REFUSED = ("42501", "42P04")
"""SQLSTATE of what the user may not do, and of a database that somebody else has just made."""


@dataclass(frozen=True)
class Postgres:
    """One database, `server`'s NAME_`part`, of the home with the id `home`."""

    server: str
    """postgresql://USER@HOST:PORT/NAME."""
    part: str
    home: str
    dialect = "postgresql"

    def __str__(self) -> str:
        """As messages name it: no user, no password."""
        return f"postgresql://{self._parts.hostname}:{self._port}/{self.name}"

    @property
    def remedy(self) -> str:
        """What else can be done about one that cannot be used."""
        return f"or give another NAME at the end of {self.server}: new ones are made, artifacts stay"

    @property
    def name(self) -> str:
        """The database's name."""
        return f"{self._parts.path[1:]}_{self.part}"

    @property
    def _parts(self) -> Any:
        return urlsplit(self.server)

    @property
    def _port(self) -> int:
        return self._parts.port or 5432

    @property
    def uri(self) -> str:
        """SQLAlchemy's URI for a program that waits."""
        return f"postgresql+psycopg2://{self._parts.netloc}/{self.name}"

    @property
    def asyncio_uri(self) -> str:
        """SQLAlchemy's URI for a program on asyncio."""
        return f"postgresql+asyncpg://{self._parts.netloc}/{self.name}"

    def exists(self) -> bool:
        """A home that has a Postgres has its databases: `choose` has made them."""
        return True

    def _connect(self, database: str) -> Any:
        import psycopg2

        parts = self._parts
        try:
            connection = psycopg2.connect(
                host=parts.hostname, port=self._port, user=parts.username, dbname=database,
                connect_timeout=CONNECT_LIMIT, application_name="fromzero",
            )  # fmt: skip
        except psycopg2.OperationalError as error:
            said = next((line.strip() for line in reversed(str(error).splitlines()) if line.strip()), "no reason given")
            raise Transient(
                f"Postgres at {parts.hostname}:{self._port} does not let user {parts.username} into {database} "
                f"({said}): see that it runs, that the URL is right ({self.server}), and that the password is in "
                "PGPASSWORD or ~/.pgpass"
            ) from None
        connection.autocommit = True
        return connection

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What a query gives; `?` stands for a value. Nothing where its table is not there."""
        import psycopg2

        with closing(self._connect(self.name)) as connection, connection.cursor() as cursor:
            try:
                cursor.execute(query.replace("?", "%s"), values)
            except psycopg2.ProgrammingError as error:
                if error.pgcode in UNDEFINED:
                    return []
                raise
            return list(cursor.fetchall())

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """A function that executes a statement with its values, all of them or none in the end."""
        with closing(self._connect(self.name)) as connection:
            connection.autocommit = False
            with connection, connection.cursor() as cursor:

                def execute(statement: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
                    cursor.execute(statement.replace("?", "%s"), values)
                    return list(cursor.fetchall()) if cursor.description else []

                yield execute

    def revision(self) -> str:
        """The revision of its schema, as Alembic has noted it; empty if it has none."""
        found = self.rows("SELECT version_num FROM alembic_version")
        return str(found[0][0]) if found else ""

    def make(self) -> None:
        """Make it if it is not there, and make it this home's.

        Raises `HostError` if the user may not, or it is another home's, `Transient` if the server does not answer.
        """
        import psycopg2

        with closing(self._connect(MAINTENANCE)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [self.name])
            if cursor.fetchone() is None:
                try:
                    cursor.execute(f'CREATE DATABASE "{self.name}" ENCODING UTF8 TEMPLATE template0')
                except psycopg2.Error as error:
                    if error.pgcode == REFUSED[0]:
                        raise self._not_allowed(
                            f'CREATE DATABASE "{self.name}" OWNER "{self._parts.username}"'
                        ) from None
                    if error.pgcode != REFUSED[1]:
                        raise
        try:
            with self.transaction() as execute:
                execute("CREATE SCHEMA IF NOT EXISTS fromzero")
                execute("CREATE TABLE IF NOT EXISTS fromzero.home (one boolean PRIMARY KEY CHECK (one), id text)")
                execute("INSERT INTO fromzero.home VALUES (true, ?) ON CONFLICT DO NOTHING", [self.home])
                ((owner,),) = execute("SELECT id FROM fromzero.home")
        except psycopg2.Error as error:
            if error.pgcode != REFUSED[0]:
                raise
            raise self._not_allowed(f'ALTER DATABASE "{self.name}" OWNER TO "{self._parts.username}"') from None
        if owner != self.home:
            raise HostError(
                f"{self} keeps the records of another home: give another NAME at the end of {self.server}; if that "
                "home is gone, and this one takes its place: DROP SCHEMA fromzero CASCADE in that database"
            )

    def _not_allowed(self, statement: str) -> HostError:
        return HostError(
            f"{self} cannot be made or used by user {self._parts.username}, who lacks the right: let an administrator "
            f"of that Postgres execute {statement}"
        )

    def dump(self, file: Path) -> None:
        """Write all of it, as it is at one time, to a file of pg_dump's; others may go on writing."""
        kept = ["--format=custom", "--no-owner", "--no-acl", "--no-comments", "--exclude-schema=fromzero"]
        self._run("pg_dump", *kept, f"--file={file}")

    def load(self, file: Path) -> None:
        """Become what was dumped, in one transaction; raises `HostError` if the database is not empty."""
        self._run("pg_restore", "--no-owner", "--no-acl", "--exit-on-error", "--single-transaction", str(file))

    def _run(self, program: str, *words: str) -> None:
        found = shutil.which(program)
        if found is None:
            raise HostError(
                f"{program} is missing here: `apt-get install postgresql-client`, or Postgres' own packages"
            )
        where = [f"--host={self._parts.hostname}", f"--port={self._port}", f"--username={self._parts.username}"]
        command = [found, *where, "--no-password", f"--dbname={self.name}", *words]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            said = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr[-300:])
            raise HostError(f"{program} of {self}: {said.strip()}; see that it is of the server's version or newer")

    def recover(self) -> None:
        """Nothing: a migration on Postgres is a transaction."""

    @contextmanager
    def unharmed(self) -> Iterator[None]:
        """A migration on Postgres is a transaction: what fails has changed nothing."""
        yield
