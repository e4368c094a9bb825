"""Reading MLflow's database as a file and through SQLAlchemy; test_steps and test_people have MLflow's own tables."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from tasks.core.errors import HostError
from tasks.register.mlflow_reader import Database

TABLES = """
CREATE TABLE registered_models (name TEXT);
CREATE TABLE model_versions (name TEXT, version INT, current_stage TEXT, source TEXT, storage_location TEXT);
CREATE TABLE model_version_tags (name TEXT, version INT, "key" TEXT, value TEXT);
CREATE TABLE registered_model_aliases (name TEXT, alias TEXT, version INT);
CREATE TABLE logged_models (model_id TEXT, lifecycle_stage TEXT);
INSERT INTO registered_models VALUES ('b'), ('a');
INSERT INTO model_versions VALUES ('a', 1, 'None', 'models:/m-1', NULL), ('a', 2, 'None', 'x', '/there'),
    ('a', 3, 'Deleted_Internal', 'x', NULL), ('b', 1, 'None', 'y', NULL);
INSERT INTO model_version_tags VALUES ('a', 2, 'fromzero.digest', 'abc'), ('b', 1, 'fromzero.digest', 'def');
INSERT INTO registered_model_aliases VALUES ('a', 'previous', 1), ('a', 'champion', 2), ('a', 'best', 2);
INSERT INTO logged_models VALUES ('m-1', 'deleted');
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a % folder" / "mlflow.db"
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as base:
        base.executescript(TABLES)
    return path


def test_a_file_is_read_as_sqlalchemy_reads_it_which_is_not_imported_for_it(file: Path) -> None:
    code = (
        "import sys; from tasks.register.mlflow_reader import Database; base = Database(sys.argv[1]); "
        "print(base.names(), base.versions('a'), base.versions('none'), 'sqlalchemy' in sys.modules)"
    )
    said = [
        subprocess.run([sys.executable, "-c", code, uri], capture_output=True, text=True, check=True).stdout
        for uri in (f"sqlite:///{file}", f"sqlite:///{file}?timeout=5")
    ]
    assert said[0].endswith("[] False\n") and said[1] == said[0].replace("False", "True")
    (first, second) = Database(f"sqlite:///{file}").versions("a")
    assert (first.version, first.location, first.aliases) == (1, "", ("previous",))
    assert (second.version, second.location, second.aliases, second.digest) == (
        2,
        "/there",
        ("best", "champion"),
        "abc",
    )


def test_a_look_leaves_no_file_and_names_one_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "mlflow.db"
    assert Database(f"sqlite:///{path}").names() == [] and not path.exists()
    path.write_bytes(b"no database" * 100)
    with pytest.raises(HostError, match=r"mlflow\.db cannot be read: file is not a database"):
        Database(f"sqlite:///{path}").names()
