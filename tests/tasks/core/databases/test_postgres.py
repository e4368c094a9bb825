"""The databases of a home on a real Postgres: made, claimed, refused, migrated, and never a password in a file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conf.compose import SERVICES, read_model
from conf.schema.services import ServicesConf
from tasks.core.databases import home_databases
from tasks.core.databases.postgres import Postgres
from tasks.core.errors import ConfigError, HostError, Transient
from tasks.core.services import servers
from tasks.core.tracking.mlflow_db import prepare
from tests.ports import free_ports
from tests.postgres_server import PostgresServer

ROOT = Path(__file__).parents[4]


@pytest.fixture(autouse=True)
def password(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name, value in postgres.env.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://me:hidden@db/team", "holds a password"),
        ("postgresql://db/team", "write postgresql:// and USER@HOST:PORT/NAME"),
        ("postgresql://me@db", "write postgresql:// and USER@HOST:PORT/NAME"),
        ("postgresql://me@db/Team-1", "write postgresql:// and USER@HOST:PORT/NAME"),
        ("postgresql://me@db/team?password=hidden", "write postgresql:// and USER@HOST:PORT/NAME"),
        ("mysql://me@db/team", "write postgresql:// and USER@HOST:PORT/NAME"),
    ],
)
def test_a_url_that_is_none_for_a_home_is_refused_and_its_password_not_said(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        read_model(ServicesConf, SERVICES, (f"database={url}",))
    assert "hidden" not in str(refused.value)


def test_both_databases_are_made_once_and_no_file_of_the_home_holds_the_password(
    postgres: PostgresServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = postgres.of_a_home()
    monkeypatch.setenv("FROMZERO_HOME", str(home))
    for command in (["setup", "--postgres", url], ["setup"]):
        subprocess.run([sys.executable, "-m", "flows.cli.main", *command], cwd=ROOT, check=True)
    name = url.rpartition("/")[2]
    for part, table in (("prefect", "flow_run"), ("mlflow", "registered_models")):
        assert postgres.execute(f"SELECT count(*) FROM {table}", f"{name}_{part}") == [(0,)]
    assert not (home / "prefect/prefect.db").exists() and not (home / "mlflow/mlflow.db").exists()
    files = [path for path in home.rglob("*") if path.is_file()]
    assert files and not [path for path in files if postgres.password.encode() in path.read_bytes()]
    before = (home / "mlflow/prepared.json").stat().st_mtime_ns
    prepare(home)
    servers.migrate(home)
    assert (home / "mlflow/prepared.json").stat().st_mtime_ns == before, "what is prepared is left alone"

    moved = home.with_name("moved")
    shutil.move(home, moved)
    prepare(moved)
    place = postgres.execute("SELECT artifact_location FROM experiments ORDER BY experiment_id", f"{name}_mlflow")
    assert place == [(f"{moved}/mlflow/artifacts/0",), (f"{moved}/mlflow/artifacts",)]

    postgres.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'", f"{name}_prefect")
    postgres.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'", f"{name}_mlflow")
    for refuse, owner in ((servers.migrate, "Prefect"), (prepare, "MLflow")):
        with pytest.raises(HostError, match=f"{owner}'s database .*made by another version .*another NAME"):
            refuse(moved)


def test_what_is_wrong_with_the_server_is_said_before_anything_is_made(
    postgres: PostgresServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (port,) = free_ports(1)
    with pytest.raises(Transient, match=rf"127.0.0.1:{port} .*see that it runs"):
        home_databases.choose(home, f"postgresql://tests@127.0.0.1:{port}/team")
    postgres.execute("CREATE ROLE poor LOGIN PASSWORD 'secret-of-tests'")
    url = postgres.of_a_home("poor")
    name = url.rpartition("/")[2]
    with pytest.raises(HostError, match=f'administrator .*CREATE DATABASE "{name}_prefect" OWNER "poor"'):
        home_databases.choose(home, url)
    postgres.execute(f"CREATE DATABASE {name}_prefect")
    with pytest.raises(HostError, match=f'ALTER DATABASE "{name}_prefect" OWNER TO "poor"'):
        home_databases.choose(home, url)
    for variable, word in (("PGPASSWORD", "wrong-word"), ("PGPASSFILE", str(home / "none"))):
        monkeypatch.delenv("PGPASSWORD", raising=False)
        monkeypatch.setenv(variable, word)
        with pytest.raises(Transient, match=r"user poor .*password") as refused:
            home_databases.choose(home, url)
        assert "wrong-word" not in str(refused.value)
    assert list(home.iterdir()) == []


def test_two_homes_never_share_databases_and_records_are_never_left_behind(
    postgres: PostgresServer, home: Path, tmp_path: Path
) -> None:
    url = postgres.of_a_home()
    home_databases.choose(home, url)
    home_databases.choose(home, url)
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(HostError, match=r"records of another home: give another NAME .*DROP SCHEMA fromzero CASCADE"):
        home_databases.choose(other, url)
    assert home_databases.chosen(other) is None and home_databases.chosen(home) == url
    elsewhere = postgres.of_a_home()
    for part in ("prefect", "mlflow"):
        Postgres(elsewhere, part, "nobody's").make()
    with pytest.raises(ConfigError, match=r"has its records at .*fromzero restore FOLDER --postgres URL"):
        home_databases.choose(home, elsewhere)
    for part in ("prefect", "mlflow"):  # as pg_dump and pg_restore would
        (name, old) = (database.rpartition("/")[2] for database in (elsewhere, url))
        ((owner,),) = postgres.execute("SELECT id FROM fromzero.home", f"{old}_{part}")
        postgres.execute(f"UPDATE fromzero.home SET id = '{owner}'", f"{name}_{part}")
    home_databases.choose(home, elsewhere)
    assert json.loads((home / "databases.json").read_text())["postgres"] == elsewhere


def test_a_home_with_runs_in_files_is_not_given_an_empty_postgres(postgres: PostgresServer, home: Path) -> None:
    database = home_databases.prefect(home)
    database.make()
    with database.transaction() as execute:
        execute("CREATE TABLE flow_run (id text)")
    home_databases.choose(home, None)
    with database.transaction() as execute:
        execute("INSERT INTO flow_run VALUES (?)", ["one"])
    with pytest.raises(ConfigError, match=r"\(1 runs\) in SQLite files, .*new folder"):
        home_databases.choose(home, postgres.of_a_home())
    assert os.listdir(home) == ["prefect"]
