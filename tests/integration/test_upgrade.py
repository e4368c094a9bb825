"""A home as an earlier version left it: its databases are migrated in place, and what was in them stays."""

from __future__ import annotations

import os
import re
import sqlite3
import subprocess
import sys
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path

import pytest

from tasks.core.databases import home_databases
from tasks.core.services import servers
from tasks.core.tracking.mlflow_db import EXPERIMENT, prepare

ROOT = Path(__file__).parents[2]
BACK = 3
"""Migrations between the home and what is installed."""
MLFLOW = """
import sys
from alembic import command
from mlflow.store.db.utils import InitialBase, _get_alembic_config, create_sqlalchemy_engine
uri, revision = sys.argv[1:]
InitialBase.metadata.create_all(create_sqlalchemy_engine(uri))
command.upgrade(_get_alembic_config(uri), revision)
"""


def earlier(package: str, folder: str) -> tuple[str, str]:
    """A revision that is some migrations before the newest one, and the newest one."""
    spec = find_spec(package)
    assert spec is not None and spec.origin is not None
    before: dict[str, str] = {}
    for file in (Path(spec.origin).parent / folder).glob("*.py"):
        found = dict(re.findall(r"^(revision|down_revision)(?:: \S+)? = \"(\w+)\"", file.read_text(), re.MULTILINE))
        if len(found) == 2:
            before[found["revision"]] = found["down_revision"]
    (newest,) = before.keys() - set(before.values())
    old = newest
    for _ in range(BACK):
        old = before[old]
    return old, newest


def test_a_home_of_an_earlier_version_keeps_its_records_when_both_databases_are_migrated(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    ours, theirs = home_databases.prefect(home), home_databases.mlflow(home)
    old_prefect, new_prefect = earlier("prefect", "server/database/_migrations/versions/sqlite")
    old_mlflow, new_mlflow = earlier("mlflow", "store/db_migrations/versions")
    for database in (ours, theirs):
        database.make()
    environ = {**os.environ, **servers.environment(home)}
    for command in (
        ["-m", "prefect", "server", "database", "upgrade", "-y", "-r", old_prefect],
        ["-c", MLFLOW, theirs.uri, old_mlflow],
    ):
        subprocess.run([sys.executable, *command], env=environ, cwd=home, check=True, capture_output=True)
    assert (ours.revision(), theirs.revision()) == (old_prefect, old_mlflow)
    with closing(sqlite3.connect(home / "prefect/prefect.db")) as base:
        base.execute("INSERT INTO flow (id, name) VALUES ('6a1c7a3e-5a0b-4d0e-9e55-0f4b7bb1a001', 'demo')")
        base.commit()
    with closing(sqlite3.connect(home / "mlflow/mlflow.db")) as base:
        place = "/somewhere/else/mlflow/artifacts"
        columns = "experiment_id, name, artifact_location, lifecycle_stage"
        row = f"INSERT INTO experiments ({columns}) VALUES (?, ?, ?, 'active')"
        base.executemany(row, [(0, "Default", f"{place}/0"), (1, EXPERIMENT, place)])
        base.execute("INSERT INTO registered_models (name, creation_time) VALUES ('demo-base', 1)")
        base.commit()
    (servers.folder(home) / "migrated-3.0.0").write_text(old_prefect)
    (home / "mlflow/prepared.json").write_text(f'{{"home": "/", "mlflow": "3.0.0", "revision": "{old_mlflow}"}}')
    (servers.folder(home) / "up.json").write_text('{"host": "127.0.0.1", "prefect_port": 4200, "mlflow_port": 5000}')

    done = subprocess.run([sys.executable, "-m", "flows.cli.main", "doctor"], cwd=ROOT, capture_output=True, text=True)
    assert "of version 3.0.0" in done.stdout and "`fromzero setup` migrates it" in done.stdout
    subprocess.run([sys.executable, "-m", "flows.cli.main", "setup"], cwd=ROOT, check=True)
    assert (ours.revision(), theirs.revision()) == (new_prefect, new_mlflow)
    assert ours.rows("SELECT name FROM flow") == [("demo",)]
    assert theirs.rows("SELECT name FROM registered_models") == [("demo-base",)]
    places = [(f"{home}/mlflow/artifacts/0",), (f"{home}/mlflow/artifacts",)]
    assert theirs.rows("SELECT artifact_location FROM experiments ORDER BY experiment_id") == places
    assert prepare(home) == theirs.uri
    asked = servers.wanted(home)
    assert asked is not None and asked.database is None, "what `up` of an earlier version asked for is understood"
