"""Where MLflow keeps its records: a URI, and the SQLite database under FROMZERO_HOME, made once and movable."""

from __future__ import annotations

import fcntl
import json
import os
import re
import sqlite3
import subprocess
from contextlib import closing, suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from tasks.core import interpreter
from tasks.core.errors import ConfigError, HostError
from tasks.core.small_files import read_json, write_atomically

EXPERIMENT = "fromzero"
LOCATIONS = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}
"""Columns in which MLflow stores absolute paths."""

MIGRATE = """
import sys
from mlflow.store.db.utils import _is_empty_database, _upgrade_db, create_sqlalchemy_engine
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
uri, artifacts, experiment = sys.argv[1:]
engine = create_sqlalchemy_engine(uri)
if not _is_empty_database(engine):
    _upgrade_db(engine)
store = SqlAlchemyStore(uri, artifacts)
if store.get_experiment_by_name(experiment) is None:
    store.create_experiment(experiment, artifacts)
"""
"""Run by a child, so that this process need not import MLflow."""


def tracking_uri(home: Path) -> str:
    """MLFLOW_TRACKING_URI, else the SQLite database under `home`; the same place in each process.

    Raises `ConfigError` for a folder, which MLflow takes no more, and for a database by a relative path.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI")
    if given and (not re.match(r"[a-z][a-z0-9+]*+:|databricks$", given) or re.match(r"file:|sqlite:///(?!/)", given)):
        raise ConfigError(
            f"MLFLOW_TRACKING_URI={given} means another place in each folder: name a server (http://HOST:PORT) or a "
            "database by its whole path (sqlite:////FOLDER/mlflow.db), or unset it for the one under FROMZERO_HOME"
        )
    return given or f"sqlite:///{home.resolve()}/mlflow/mlflow.db"


def artifacts_of(home: Path, uri: str) -> str | None:
    """Where an experiment that is made at `uri` keeps its files; None where a server decides."""
    return None if uri.startswith(("http", "databricks")) else str(home.resolve() / "mlflow" / "artifacts")


def prepare(home: Path) -> str:
    """Create, migrate or relocate MLflow's database under `home`, once; the tracking URI.

    Nothing is done (and MLflow not imported) if it is prepared already or the URI points elsewhere.
    Racing processes wait.
    """
    uri, folder, state = tracking_uri(home), home.resolve() / "mlflow", _state_file(home)
    if uri != f"sqlite:///{folder}/mlflow.db":
        return uri
    wanted = {"home": str(home.resolve()), "mlflow": version("mlflow"), "revision": revision(folder / "mlflow.db")}
    if read_json(state) == wanted and wanted["revision"]:
        return uri
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "prepare.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = read_json(state) | {"home": wanted["home"]}
        wanted["revision"] = revision(folder / "mlflow.db")
        if known != wanted or not wanted["revision"]:
            database = folder / "mlflow.db"
            command = interpreter.command("-c", MIGRATE, f"sqlite:///{database}", str(folder / "artifacts"), EXPERIMENT)
            migrate("MLflow", database, "store/db_migrations/versions", command, lock.fileno())
        _relocate(folder)
        wanted["revision"] = revision(folder / "mlflow.db")
        write_atomically(state, json.dumps(wanted).encode())
    return uri


def _state_file(home: Path) -> Path:
    """What the database was prepared for: home, mlflow (its version), revision."""
    return home.resolve() / "mlflow" / "prepared.json"


def prepared_for(home: Path) -> str | None:
    """The version of MLflow that the database was prepared for; None if it was not."""
    try:
        return str(json.loads(_state_file(home).read_bytes())["mlflow"])
    except (OSError, ValueError, KeyError):
        return None


def check(home: Path) -> None:
    """Prepare MLflow's database if there is one already; raises `HostError` if another version of MLflow made it.

    Raises `ConfigError` where the environment names none that can be used.
    """
    tracking_uri(home)
    if (home / "mlflow" / "mlflow.db").exists():
        prepare(home)


def revision(database: Path) -> str:
    """The revision of the schema in a SQLite file that Alembic migrates; empty if it has none."""
    if not database.exists():
        return ""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(database))}?mode=ro", uri=True, timeout=60)) as base:
            found = base.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.DatabaseError:
        return ""
    return str(found[0]) if found else ""


def refuse_unknown(owner: str, database: Path, migrations: str) -> None:
    """Raise `HostError` if no migration of the installed version (files in that folder of it) makes this schema.

    Asked before anything opens the database for writing.
    """
    schema, package = revision(database), find_spec(owner.lower())
    files = list((Path(str(package.origin)).parent / migrations).glob("*.py")) if package else []
    if schema and files and not any(schema in file.read_text() for file in files):
        raise HostError(
            f"{owner}'s database {database} was made by another version of {owner}: its schema {schema} is not "
            f"known to {version(owner.lower())}. Install the {owner} that made it, or move the file away: a new one is "
            "made, artifacts stay"
        )


def not_migrated(owner: str, database: Path, said: str) -> HostError:
    """Why a database could not be migrated, in one line; what the migration said is the error's cause."""
    last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "it said nothing")
    error = HostError(
        f"{owner}'s database {database} could not be migrated ({last[:300]}): fix it, or move the file away: a new "
        "one is made, artifacts stay"
    )
    error.__cause__ = RuntimeError(said[-20_000:])
    return error


def migrate(
    owner: str, database: Path, versions: str, command: list[str], lock: int, env: dict[str, str] | None = None
) -> None:
    """Migrate in place; what was there is kept until that is done: nobody can go on where a killed migration was.

    The child that `command` begins holds `lock` as well: one whose parent was killed is waited for. Raises `HostError`,
    the database as it was, for a migration that fails and for a database that another version made (`versions`).
    """
    before, part = (database.with_name(f"before-migration.{ending}") for ending in ("db", "part"))
    if before.exists() and database.exists():
        _copy(before, database)
    refuse_unknown(owner, database, versions)
    part.unlink(missing_ok=True)
    _copy(database, part)
    part.replace(before)
    around, place = env or interpreter.environment(), database.parent  # whose folder holds no settings of others
    done = subprocess.run(command, env=around, cwd=place, capture_output=True, text=True, pass_fds=[lock])
    if done.returncode:
        with suppress(sqlite3.Error):  # a full disk: it stays as it is until the next time
            _copy(before, database)
            before.unlink()
        raise not_migrated(owner, database, done.stdout + done.stderr)
    before.unlink()


def _copy(source: Path, target: Path) -> None:
    """Make one SQLite database what another is; one that is not there is an empty one."""
    target.touch()
    with closing(sqlite3.connect(source, timeout=60)) as old, closing(sqlite3.connect(target, timeout=60)) as new:
        old.backup(new)


def _relocate(folder: Path) -> None:
    """Rewrite the absolute paths that MLflow stores if `folder` was moved; those of experiment 0 say from where."""
    with closing(sqlite3.connect(folder / "mlflow.db", timeout=60, isolation_level=None)) as base:
        base.execute("BEGIN IMMEDIATE")
        (place,) = base.execute("SELECT artifact_location FROM experiments WHERE experiment_id = 0").fetchone()
        old = str(place).removesuffix("/artifacts/0")
        for table, columns in LOCATIONS.items() if old != str(folder) else ():
            for column in columns:
                for before, after in ((old, str(folder)), (f"file://{quote(old)}", f"file://{quote(str(folder))}")):
                    change = f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?"
                    base.execute(change, [after, len(before) + 1, len(before) + 1, f"{before}/"])
        base.execute("COMMIT")
