"""A database brought to the schema of the installed Prefect or MLflow, or left as it was."""

from __future__ import annotations

import subprocess
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from tasks.core import interpreter
from tasks.core.databases.home_databases import Database
from tasks.core.errors import HostError


def refuse_unknown(owner: str, database: Database, migrations: str) -> None:
    """Raise `HostError` if no migration of the installed version (files in that folder of it) makes this schema.

    Asked before anything opens the database for writing.
    """
    schema, package = database.revision(), find_spec(owner.lower())
    files = list((Path(str(package.origin)).parent / migrations).glob("*.py")) if package else []
    if schema and files and not any(schema in file.read_text() for file in files):
        raise HostError(
            f"{owner}'s database {database} was made by another version of {owner}: its schema {schema} is not "
            f"known to {version(owner.lower())}. Install the {owner} that made it, {database.remedy}"
        )


def not_migrated(owner: str, database: Database, said: str) -> HostError:
    """Why a database could not be migrated, in one line; what the migration said is the error's cause."""
    last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "it said nothing")
    error = HostError(f"{owner}'s database {database} could not be migrated ({last[:300]}): fix it, {database.remedy}")
    error.__cause__ = RuntimeError(said[-20_000:])
    return error


def migrate(
    owner: str,
    database: Database,
    versions: str,
    command: list[str],
    lock: int,
    folder: Path,
    env: dict[str, str] | None = None,
) -> None:
    """Migrate in place, by a command that stands in `folder`; nobody can go on where a killed migration was.

    The child that `command` begins holds `lock` as well: one whose parent was killed is waited for. Raises `HostError`,
    the database as it was, for a migration that fails and for a database that another version made (`versions`).
    """
    database.recover()
    refuse_unknown(owner, database, versions)
    database.make()
    with database.unharmed():
        around = env or interpreter.environment()
        done = subprocess.run(command, env=around, cwd=folder, capture_output=True, text=True, pass_fds=[lock])
        if done.returncode:
            raise not_migrated(owner, database, done.stdout + done.stderr)
