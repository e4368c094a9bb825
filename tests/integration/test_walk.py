"""A person's way through a day: up, deploy, a scheduled run, a look, a better candidate, yes in the form, back, down.

Everything through what users have: the command, Prefect's API, MLflow's client, and a browser.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.core.services import access, prefect_api
from tests import one_secret
from tests.browser import opened
from tests.pipeline_process import WITHOUT_TUNING, House, copied, eventually, finished, write_texts
from tests.ports import free_ports

LIMIT = 600.0
"""Seconds that a scheduled run may take to come and to end."""
CHAMPION = """
import sys, mlflow
client = mlflow.MlflowClient(sys.argv[1], sys.argv[1])
print(client.get_registered_model("tiny-base").aliases.get("champion", 0))
"""
OPTIONS = (
    "models.base.gate.rule=non_inferior", "models.base.gate.margin=9", *WITHOUT_TUNING,
)  # fmt: skip
"""The base model only, and a gate that lets every candidate pass: whether it should is tested elsewhere."""
DEPLOYMENT = {
    "overrides": ["approval.by=human", *OPTIONS],
    "schedule": {"kind": "cron", "cron": "* * * * *"},
    "when_running": "skip",
}


class Up:
    """A home whose services run, and what its people ask of it."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.ports = dict(zip(("prefect_port", "mlflow_port"), free_ports(2), strict=True))
        self.api = f"http://127.0.0.1:{self.ports['prefect_port']}/api"

    @property
    def words(self) -> list[str]:
        """The ports as options of `up`."""
        return [f"{name}={port}" for name, port in self.ports.items()]

    def status(self) -> dict[str, Any]:
        """What `fromzero status --json` says."""
        return dict(json.loads(self.house.start("status", "--json").wait(None).out))

    def ended(self, *known: str) -> dict[str, Any]:
        """The first scheduled run of the recipe to end, other than those known."""
        chosen = {"state": {"type": {"any_": ["COMPLETED", "FAILED", "CRASHED"]}}, "deployment_id": {"is_null_": False}}
        body = {"flow_runs": chosen, "flows": {"name": {"any_": ["tiny"]}}, "sort": "START_TIME_ASC"}
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            for run in prefect_api.ask(self.api, "flow_runs/filter", body):
                if run["id"] not in known:
                    return dict(run)
            time.sleep(0.5)
        raise AssertionError((self.house.home / "logs/services/worker.log").read_text()[-3000:])

    def champion(self) -> int:
        """The champion's version, 0 if there is none, as MLflow's client sees it through its server."""
        uri = f"http://127.0.0.1:{self.ports['mlflow_port']}"
        env = {**os.environ, **one_secret.MLFLOW}
        ran = subprocess.run([sys.executable, "-c", CHAMPION, uri], capture_output=True, text=True, check=True, env=env)
        return int(ran.stdout)


@pytest.fixture
def up(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Iterator[Up]:
    """A copy of the finished house; whatever happens, nothing of it stays up, and its texts are as they were."""
    found = Up(copied(finished(tmp_path_factory), tmp_path))
    yield found
    found.house.start("down").wait(None)
    (found.house.texts / "new.jsonl").unlink(missing_ok=True)


def test_a_day_of_a_team_from_up_to_down(up: Up, tmp_path: Path) -> None:
    house = up.house
    house.run(*OPTIONS)
    said = house.say("up", *up.words).out
    assert all(f"http://127.0.0.1:{port}" in said for port in up.ports.values())
    found = up.status()
    assert {name: about["state"] for name, about in found["services"].items()} == dict.fromkeys(
        ("prefect", "mlflow", "worker"), "healthy"
    )

    file = tmp_path / "often.yaml"
    file.write_text(json.dumps({"recipe": str(house.recipe), **DEPLOYMENT}))
    assert "+ tiny/often: new" in house.say("deploy", str(file)).out
    assert "= tiny/often: as it is" in house.say("deploy", str(file)).out

    unchanged = up.ended()
    assert (unchanged["state_type"], unchanged["state_name"]) == ("COMPLETED", "Unchanged"), unchanged["state"]
    assert up.champion() == 1

    write_texts(house.texts / "new.jsonl", seed=2)
    known = [unchanged["id"]]
    while (run := up.ended(*known))["state_name"] == "Unchanged":
        known.append(run["id"])
    assert run["state_name"] == "Waiting", run["state"]
    assert "tiny-base version 2" in run["state"]["message"]
    (listed,) = [one for one in json.loads(house.say("runs", "--json").out)["runs"] if one["run"] == run["id"]]
    record = json.loads(next((house.home / "store/_runs").glob(f"*{run['id'][-8:]}.json")).read_text())
    made = {step["shard"] for step in record["steps"] if step["state"] == "completed" and step["shard"]}
    assert listed["state"] == "waiting" and made == {"mine-001"}, "the new file's shard and no other"
    assert up.champion() == 1, "nobody has said yes"

    approve(up, run)
    assert eventually(lambda: up.champion() == 2)
    journal = json.loads((house.home / "store/_refs/journal/tiny-base.json").read_text())["entries"]
    assert (journal[-1]["by"], journal[-1]["reason"]) == (
        "Ada, logged in as Grace (promoter)", "its samples read well",
    )  # fmt: skip

    loose = [path for path in house.home.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o077]
    assert loose == [], "a home is its owner's alone"
    house.say("rollback", "tiny-base")
    assert up.champion() == 1
    house.say("down")
    assert eventually(lambda: house.processes() == []), house.processes()
    assert all(closed(port) for port in up.ports.values())


def approve(up: Up, run: dict[str, Any], version: int = 2, picture: Path | None = None) -> None:
    """Say yes in the form, after a look at the run's own page and at the model's; `picture` gets the form."""
    waiting = {"flow_runs": {"state": {"type": {"any_": ["PAUSED"]}}}}
    assert eventually(lambda: prefect_api.ask(up.api, "flow_runs/filter", waiting) != []), "the worker asks"
    asking = prefect_api.ask(up.api, "flow_runs/filter", waiting)
    pages = up.api.removesuffix("/api")
    with opened() as page:
        page.goto(access.link(up.house.home, pages, access.Person("Grace", "promoter")))
        page.get_by_text("Dashboard").first.wait_for()
        page.goto(f"{pages}/runs/flow-run/{run['id']}")
        page.get_by_text(run["name"]).first.wait_for()
        page.get_by_text("Waiting").first.wait_for()
        page.goto(f"http://127.0.0.1:{up.ports['mlflow_port']}/#/models/tiny-base")
        page.get_by_text(f"Version {version}").first.wait_for()
        for _ in range(5):  # a busy server may refuse the form once, as it may to a person
            page.goto(f"{pages}/runs/flow-run/{asking[0]['id']}")
            page.get_by_text(asking[0]["name"]).first.wait_for()
            if prefect_api.ask(up.api, "flow_runs/filter", waiting) == []:
                return
            page.get_by_role("button", name="Resume").first.click()
            form = page.get_by_role("dialog")
            form.get_by_role("switch").click()
            form.locator("textarea").nth(0).fill("its samples read well")
            form.locator("textarea").nth(1).fill("Ada")
            if picture:
                page.screenshot(path=picture)
            form.get_by_role("button", name="Submit").click()
            if eventually(lambda: prefect_api.ask(up.api, "flow_runs/filter", waiting) == [], 60):
                return
        raise AssertionError(page.inner_text("body"))


def closed(port: int) -> bool:
    """Nobody listens on the port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0
