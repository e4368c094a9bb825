"""Which databases a home has: SQLite files in it, or two of a Postgres, as `up` or `setup` was told once."""

from __future__ import annotations

import json
import sqlite3
import uuid
from pathlib import Path

from tasks.core.databases.postgres import Postgres
from tasks.core.databases.sqlite_file import SqliteFile
from tasks.core.errors import ConfigError, HostError
from tasks.core.small_files import read_json, write_atomically

Database = SqliteFile | Postgres


def _file(home: Path) -> Path:
    """What the home was told: postgres (its URL) and id (by which databases know whose they are)."""
    return home / "databases.json"


def chosen(home: Path) -> str | None:
    """The Postgres of a home (postgresql://USER@HOST:PORT/NAME); None for SQLite files."""
    found = read_json(_file(home)).get("postgres")
    return None if found is None else str(found)


def prefect(home: Path) -> Database:
    """Where the home's Prefect server keeps runs, deployments and schedules."""
    return _database(home, "prefect", home / "prefect" / "prefect.db")


def mlflow(home: Path) -> Database:
    """Where MLflow keeps runs and registered models, unless MLFLOW_TRACKING_URI names another place."""
    return _database(home, "mlflow", home.resolve() / "mlflow" / "mlflow.db")


def _database(home: Path, part: str, file: Path) -> Database:
    known = read_json(_file(home))
    return Postgres(known["postgres"], part, known["id"]) if "postgres" in known else SqliteFile(file)


def choose(home: Path, postgres: str | None) -> None:
    """Let the home keep its records in this Postgres from now on, both databases made; None changes nothing.

    Raises `ConfigError` if it has records elsewhere, which do not move by themselves, `HostError` or `Transient` if a
    database cannot be made.
    """
    known = read_json(_file(home))
    if postgres is None or postgres == known.get("postgres"):
        return
    here = known.get("id") or uuid.uuid4().hex
    wanted = [Postgres(postgres, part, here) for part in ("prefect", "mlflow")]
    if chosen(home) is not None:
        if any(database.rows("SELECT id FROM fromzero.home") != [(here,)] for database in wanted):
            raise ConfigError(
                f"{home} has its records at {known['postgres']}, and they do not move by themselves: `fromzero backup "
                "FOLDER`, then `fromzero restore FOLDER --postgres URL` into a home that is new"
            )
    elif count := _records(home):
        raise ConfigError(
            f"{home} has its records ({count} runs) in SQLite files, and they do not move: set FROMZERO_HOME to a new "
            "folder (store.path may be that of this one: what is made is not made again)"
        )
    for database in wanted:
        database.make()
    write_atomically(_file(home), json.dumps({"postgres": postgres, "id": here}).encode())


def _records(home: Path) -> int:
    """How many runs Prefect and MLflow know in the home's SQLite files."""
    found = 0
    for database, table in ((prefect(home), "flow_run"), (mlflow(home), "runs")):
        try:
            found += database.rows(f"SELECT count(*) FROM {table}")[0][0] if database.exists() else 0
        except sqlite3.Error as error:
            raise HostError(f"{database} cannot be read ({error}): look at it with `fromzero doctor`") from error
    return found
