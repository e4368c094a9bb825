"""Where MLflow keeps its records: a URI, and the database of a home, made once and movable."""

from __future__ import annotations

import fcntl
import json
import os
import re
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

from tasks.core import interpreter
from tasks.core.databases import home_databases
from tasks.core.databases.home_databases import Database
from tasks.core.databases.migration import migrate
from tasks.core.errors import ConfigError
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
    """MLFLOW_TRACKING_URI, else the database of `home`; the same place in each process.

    Raises `ConfigError` for a folder, which MLflow takes no more, and for a database by a relative path.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI")
    if given and (not re.match(r"[a-z][a-z0-9+]*+:|databricks$", given) or re.match(r"file:|sqlite:///(?!/)", given)):
        raise ConfigError(
            f"MLFLOW_TRACKING_URI={given} means another place in each folder: name a server (http://HOST:PORT) or a "
            "database by its whole path (sqlite:////FOLDER/mlflow.db), or unset it for the one under FROMZERO_HOME"
        )
    return given or home_databases.mlflow(home).uri


def artifacts_of(home: Path, uri: str) -> str | None:
    """Where an experiment that is made at `uri` keeps its files; None where a server decides."""
    return None if uri.startswith(("http", "databricks")) else str(home.resolve() / "mlflow" / "artifacts")


def prepare(home: Path) -> str:
    """Create, migrate or relocate MLflow's database of `home`, once; the tracking URI.

    Nothing is done (and MLflow not imported) if it is prepared already or the URI points elsewhere.
    Racing processes wait.
    """
    uri, folder, state = tracking_uri(home), home.resolve() / "mlflow", _state_file(home)
    database = home_databases.mlflow(home)
    if uri != database.uri:
        return uri
    wanted = {"home": str(home.resolve()), "mlflow": version("mlflow"), "revision": database.revision()}
    if home_databases.chosen(home):
        wanted["database"] = uri
    if read_json(state) == wanted and wanted["revision"]:
        return uri
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "prepare.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = read_json(state) | {"home": wanted["home"]}
        wanted["revision"] = database.revision()
        if known != wanted or not wanted["revision"]:
            command = interpreter.command("-c", MIGRATE, uri, str(folder / "artifacts"), EXPERIMENT)
            migrate("MLflow", database, "store/db_migrations/versions", command, lock.fileno(), folder)
        _relocate(database, folder)
        wanted["revision"] = database.revision()
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
    if home_databases.mlflow(home).exists():
        prepare(home)


def _relocate(database: Database, folder: Path) -> None:
    """Rewrite the absolute paths that MLflow stores if `folder` was moved; those of experiment 0 say from where."""
    with database.transaction() as execute:
        ((place,),) = execute("SELECT artifact_location FROM experiments WHERE experiment_id = 0")
        old = str(place).removesuffix("/artifacts/0")
        for table, columns in LOCATIONS.items() if old != str(folder) else ():
            for column in columns:
                for before, after in ((old, str(folder)), (f"file://{quote(old)}", f"file://{quote(str(folder))}")):
                    change = f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?"
                    execute(change, [after, len(before) + 1, len(before) + 1, f"{before}/"])
