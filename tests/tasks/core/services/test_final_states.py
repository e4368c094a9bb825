"""What Prefect has to know of a run in the end, on a real Prefect server."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from tasks.core import liveness
from tasks.core.services import final_states, prefect_api
from tasks.core.services.final_states import TaskRun

ANNOUNCE = """
import sys, json
from pathlib import Path
from tasks.core.liveness import Announced
kept = Announced(Path(sys.argv[1]), sys.argv[2], **json.loads(sys.argv[3]))
if sys.argv[4:]:
    kept.owe(owed=json.loads(sys.argv[4]))
"""
DONE = {"type": "COMPLETED", "name": "Cached", "message": None}


def died(home: Path, run: str, about: dict[str, Any] | None = None, owed: dict[str, Any] | None = None) -> None:
    """Announce a run in a process that ends without withdrawing it."""
    words = [json.dumps(about or {}), *([json.dumps(owed)] if owed else [])]
    subprocess.run([sys.executable, "-c", ANNOUNCE, str(home), run, *words], check=True)


def running(url: str) -> str:
    """A flow run under way; its id."""
    flow = prefect_api.ask(url, "flows/", {"name": "toy"})["id"]
    state = {"type": "RUNNING", "name": "Running"}
    return str(prefect_api.ask(url, "flow_runs/", {"flow_id": flow, "state": state})["id"])


def task_run(url: str, run: str, kind: str) -> str:
    """A task run of it in a state of that type; its id."""
    made = {"flow_run_id": run, "task_key": "make", "dynamic_key": uuid.uuid4().hex}
    found = str(prefect_api.ask(url, "task_runs/", made)["id"])
    state = {"type": kind, "name": kind.capitalize()}
    prefect_api.ask(url, f"task_runs/{found}/set_state", {"state": state, "force": True})
    return found


def states(url: str, run: str) -> dict[str, str]:
    """The names of the states of a flow run's task runs, by id."""
    found = prefect_api.ask(url, "task_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
    return {task["id"]: task["state_name"] for task in found}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing more comes by itself in these tests."""
    monkeypatch.setattr(final_states, "STALL", 0.2)


@pytest.mark.usefixtures("impatient")
def test_what_the_server_has_lost_of_a_run_is_told_again_and_counted(prefect_url: str) -> None:
    run = running(prefect_url)
    stale, known, lost = task_run(prefect_url, run, "RUNNING"), task_run(prefect_url, run, "COMPLETED"), uuid.uuid4()
    tasks = [
        TaskRun(stale, "make[a]", "make", DONE),
        TaskRun(known, "make[b]", "make", {"type": "COMPLETED", "name": "Completed", "message": None}),
        TaskRun(str(lost), "join", "join", {"type": "FAILED", "name": "Failed", "message": "bad"}),
    ]
    assert final_states.confirm(prefect_url, run, tasks) == 2
    assert states(prefect_url, run) == {stale: "Cached", known: "Completed", str(lost): "Failed"}
    assert final_states.confirm(prefect_url, run, tasks) == 0
    (told,) = prefect_api.ask(prefect_url, "task_runs/filter", {"task_runs": {"id": {"any_": [str(lost)]}}})
    assert (told["name"], told["state"]["message"]) == ("join", "bad")


def test_a_run_that_is_gone_and_what_it_was_at_have_crashed(prefect_url: str, tmp_path: Path) -> None:
    run = running(prefect_url)
    kinds = ("RUNNING", "PENDING", "SCHEDULED", "COMPLETED", "FAILED")
    tasks = {kind: task_run(prefect_url, run, kind) for kind in kinds}
    died(tmp_path, run)
    assert final_states.the_dead(tmp_path, prefect_url) == [run]
    assert prefect_api.ask(prefect_url, f"flow_runs/{run}")["state_name"] == "Crashed"
    found = states(prefect_url, run)
    assert {kind: found[id] for kind, id in tasks.items()} == dict.fromkeys(kinds[:3], "Crashed") | {
        "COMPLETED": "Completed", "FAILED": "Failed"
    }  # fmt: skip
    assert liveness.dead(tmp_path) == []


def test_more_task_runs_than_fit_into_one_answer_are_all_ended(
    prefect_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(final_states, "PAGE", 2)
    run = running(prefect_url)
    tasks = [task_run(prefect_url, run, "RUNNING") for _ in range(5)]
    died(tmp_path, run)
    final_states.the_dead(tmp_path, prefect_url)
    assert states(prefect_url, run) == dict.fromkeys(tasks, "Crashed")


def test_a_run_that_could_not_say_how_it_ended_has_ended_as_it_noted(prefect_url: str, tmp_path: Path) -> None:
    run = running(prefect_url)
    task, lost = task_run(prefect_url, run, "PENDING"), str(uuid.uuid4())
    noted = [{"id": id, "name": "make", "task": "make", "state": DONE} for id in (task, lost)]
    died(tmp_path, run, owed={"tasks": noted, "state": {"type": "FAILED", "name": "Failed"}})
    final_states.the_dead(tmp_path, prefect_url)
    assert states(prefect_url, run) == {task: "Cached", lost: "Cached"}
    assert prefect_api.ask(prefect_url, f"flow_runs/{run}")["state_name"] == "Failed"


def test_a_run_that_ended_well_before_its_process_was_gone_stays_as_it_is(prefect_url: str, tmp_path: Path) -> None:
    run = running(prefect_url)
    prefect_api.ask(prefect_url, f"flow_runs/{run}/set_state", {"state": DONE, "force": True})
    died(tmp_path, run)
    final_states.the_dead(tmp_path, prefect_url)
    assert prefect_api.ask(prefect_url, f"flow_runs/{run}")["state_name"] == "Cached"
    assert liveness.dead(tmp_path) == []


@pytest.mark.parametrize(
    "about",
    [{"database": "http://elsewhere:4200/api"}, {"host": "elsewhere", "boot": "another"}],
    ids=["server", "host"],
)
def test_a_run_of_another_server_or_of_another_machine_that_lives_is_left_alone(
    prefect_url: str, tmp_path: Path, about: dict[str, Any]
) -> None:
    run = running(prefect_url)
    died(tmp_path, run, about)
    assert final_states.the_dead(tmp_path, prefect_url) == []
    assert prefect_api.ask(prefect_url, f"flow_runs/{run}")["state_name"] == "Running"
