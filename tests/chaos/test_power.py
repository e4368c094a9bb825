"""A power cut: services, worker and run are gone at once. `up` settles what was, and the nights go on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tasks.core import liveness
from tasks.core.services import prefect_api
from tests import one_secret
from tests.chaos.disturb import many
from tests.integration.test_walk import Up
from tests.pipeline_process import eventually

TRAINS = """
import sys, time
from pathlib import Path
from tasks.core.tracking.tracking import Tracking
home = Path(sys.argv[1])
tracking = Tracking(home, "one", "one")
scratch = home / "scratch"
scratch.mkdir()
run = tracking.start("pretrain", "key", scratch, params={}, tags={}, datasets={})
while run.run_id is None:
    time.sleep(0.1)
print(tracking.parent(), run.run_id, flush=True)
time.sleep(600)
"""


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    """A home of small texts whose services run; whatever happens, nothing of it stays up."""
    found = Up(many(tmp_path / "house"))
    found.house.say("up", *found.words)
    yield found
    found.house.start("down").wait(None)


def cut(up: Up) -> None:
    """Everything that works for the home is killed at once."""
    while pids := up.house.processes():
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def deployed(up: Up) -> str:
    """The id of a deployment of the recipe's first steps, one run at a time."""
    file = up.house.folder / "night.yaml"
    file.write_text(json.dumps({"recipe": str(up.house.recipe), "until": "fetch_shard", "when_running": "skip"}))
    up.house.say("deploy", str(file))
    (found,) = prefect_api.ask(up.api, "deployments/filter", {"deployments": {"name": {"any_": ["night"]}}})
    return str(found["id"])


def asked(up: Up, deployment: str) -> str:
    """A run of the deployment, as its schedule asks for it."""
    return str(prefect_api.ask(up.api, f"deployments/{deployment}/create_flow_run", {})["id"])


def state(up: Up, run: str) -> str:
    """What Prefect's page says of a run."""
    return str(prefect_api.ask(up.api, f"flow_runs/{run}")["state_name"])


def trained(up: Up) -> tuple[subprocess.Popen[str], list[str]]:
    """A process that trains as a run does, and MLflow's ids of its runs."""
    command = [sys.executable, "-c", TRAINS, str(up.house.home)]
    process = subprocess.Popen(command, cwd=up.house.tree, env=up.house.env(), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().split()


def test_after_a_power_cut_up_ends_what_died_and_the_next_run_of_the_deployment_goes_on(
    up: Up, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, deployment = up.house, deployed(up)
    process, tracked = trained(up)
    run = asked(up, deployment)
    assert eventually(lambda: [about["run"] for about in liveness.living(house.home)] == [run]), state(up, run)
    mine: dict[str, Any] = {"flow_runs": {"id": {"any_": [run]}}}
    assert eventually(lambda: prefect_api.ask(up.api, "task_runs/filter", mine)), "a step is under way"
    cut(up)
    process.wait()

    house.say("up", *up.words)
    assert eventually(lambda: state(up, run) == "Crashed"), state(up, run)
    tasks = prefect_api.ask(up.api, "task_runs/filter", mine)
    assert {task["state_name"] for task in tasks} <= {"Completed", "Crashed"}
    one_secret.show_mlflow(monkeypatch)
    client = MlflowClient(f"http://127.0.0.1:{up.ports['mlflow_port']}")
    assert [client.get_run(found).info.status for found in tracked] == ["KILLED", "KILLED"]

    following = asked(up, deployment)
    ended = ("Completed", "Failed", "Crashed", "Cancelled")
    assert eventually(lambda: state(up, following) in ended), state(up, following)
    assert state(up, following) == "Completed", "the dead run's place is free"
    assert liveness.dead(house.home) == []
