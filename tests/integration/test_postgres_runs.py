"""Runs whose records are on a real Postgres: many at once, and none is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.core.services import prefect_api, servers
from tests import one_secret
from tests.ports import free_ports
from tests.postgres_server import PostgresServer

ROOT = Path(__file__).parents[2]
RUNS = 20
STEPS = {"make", "shout", "join", "train"}


class Team:
    """A home that is up, with its records on a Postgres."""

    def __init__(self, home: Path, postgres: PostgresServer) -> None:
        self.home, self.url = home, postgres.of_a_home()
        self.prefect, self.mlflow = (f"{self.url.rpartition('/')[2]}_{part}" for part in ("prefect", "mlflow"))
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_API_", "MLFLOW_TR"))}
        self.env = {**kept, **postgres.env, "FROMZERO_HOME": str(home)}

    def python(self, *words: str) -> str:
        """What a Python program says; its errors are in `errors`."""
        with (self.home / "errors").open("ab") as errors:
            command = [sys.executable, "-m", *words]
            done = subprocess.run(command, cwd=ROOT, env=self.env, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert done.returncode == 0, (self.home / "errors").read_text()[-4000:]
        return done.stdout

    def say(self, *words: str) -> str:
        """What a command says."""
        return self.python("flows.cli.main", *words)


@pytest.fixture(scope="module")
def team(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    team = Team(one_secret.give(tmp_path_factory.mktemp("team") / "home"), postgres)
    ports = zip(("prefect_port", "mlflow_port"), free_ports(2), strict=True)
    team.say("up", "--postgres", team.url, *(f"{name}={port}" for name, port in ports))
    yield team
    team.say("down")


def test_of_twenty_runs_at_once_postgres_has_each_task_run_in_its_final_state(
    team: Team, postgres: PostgresServer
) -> None:
    codes = json.loads(team.python("tests.toy_crowd", str(RUNS), "a=text"))
    assert codes == [0] * RUNS, (team.home / "errors").read_text()[-4000:]
    said = [json.loads((team.home / f"crowd-{number}").read_text()) for number in range(RUNS)]
    assert {run["state"] for run in said} == {"completed"}
    found = postgres.execute(
        "SELECT state_name, count(*) FROM flow_run WHERE deployment_id IS NULL GROUP BY 1", team.prefect
    )
    assert found == [("Completed", RUNS)]
    found = postgres.execute("SELECT state_type, count(*) FROM task_run GROUP BY 1", team.prefect)
    assert found == [("COMPLETED", RUNS * len(STEPS))]
    assert postgres.execute("SELECT count(DISTINCT flow_run_id) FROM task_run", team.prefect) == [(RUNS,)]
    assert json.loads(team.say("status", "--json"))["services"]["mlflow"]["state"] == "healthy"
    logs = [path for path in team.home.rglob("*") if path.is_file()]
    assert logs and not [path for path in logs if postgres.password.encode() in path.read_bytes()]


def test_a_home_on_postgres_that_is_up_is_backed_up_and_its_runs_are_shown_by_a_restored_one(
    team: Team, postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "backup"
    assert json.loads(team.say("backup", str(folder), "--json"))["databases"]["prefect"] == "postgresql"
    other = Team(one_secret.give(tmp_path / "restored"), postgres)
    other.say("restore", str(folder), "--postgres", other.url)
    for count in ("SELECT count(*) FROM task_run", "SELECT count(*), max(state_name) FROM flow_run"):
        before, after = (postgres.execute(count, which.prefect) for which in (team, other))
        assert before == after
    monkeypatch.setenv("FROMZERO_HOME", str(other.home))
    monkeypatch.setenv("PGPASSWORD", postgres.password)
    member = servers.Membership(other.home)
    try:
        ended = {"flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
        assert prefect_api.ask(member.url(), "flow_runs/count", ended) == RUNS
    finally:
        member.leave()
