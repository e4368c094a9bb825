"""Deployments from files, put in force on a real Prefect server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conf.schema.services import ServicesConf
from flows.deploy.deployment_files import read
from tasks.core.errors import HostError, StepError
from tasks.core.services import prefect_api
from tests.toy_process import eventually

CONF = ServicesConf(pool="tests")
SCHEDULES = {
    "cron": {"kind": "cron", "cron": "30 2 * * 1-5", "timezone": "Europe/Berlin"},
    "interval": {"kind": "interval", "minutes": 90},
    "rrule": {"kind": "rrule", "rrule": "FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=22", "timezone": "UTC"},
    "none": None,
}


def write(folder: Path, name: str, **values: Any) -> Path:
    """A deployment's file."""
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps({"recipe": "demo", **values}))
    return path


@pytest.mark.parametrize("when", ["skip", "queue", "cancel"])
@pytest.mark.parametrize("kind", SCHEDULES)
def test_what_was_deployed_is_as_it_should_be_and_a_changed_line_is_named(
    api: str, tmp_path: Path, kind: str, when: str
) -> None:
    from flows.deploy import deployments

    file = write(tmp_path, f"{kind}-{when}", schedule=SCHEDULES[kind], when_running=when, refresh=["clean"])
    (change,) = deployments.compare([file], CONF.pool)
    assert change.action == "create"
    deployments.carry_out([change], CONF)
    assert [found.action for found in deployments.compare([file], CONF.pool)] == ["keep"]
    write(
        tmp_path, f"{kind}-{when}", schedule=SCHEDULES[kind], when_running=when, overrides=["tokenizer.vocab_size=512"]
    )
    (change,) = deployments.compare([file], CONF.pool)
    assert set(change.lines) == {"recipe.tokenizer.vocab_size: 4096 → 512", "refresh: ['clean'] → unset"}


def test_prune_removes_what_has_no_file_any_more_and_nothing_else(api: str, tmp_path: Path) -> None:
    from flows.deploy import deployments

    kept, gone = write(tmp_path, "kept"), write(tmp_path, "gone")
    deployments.carry_out(deployments.compare([kept, gone], CONF.pool), CONF)
    changes = deployments.compare([kept], CONF.pool, prune=True)
    actions = {change.name: change.action for change in changes}
    assert (actions["demo/kept"], actions["demo/gone"]) == ("keep", "remove")
    deployments.carry_out(changes, CONF)
    names = {found["name"] for found in prefect_api.ask(api, "deployments/filter", {})}
    assert "gone" not in names and {"kept", "approval"} <= names


@pytest.fixture
def two_runs(api: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    """A run of a deployment that is under way, and a second one: this process."""
    from flows.deploy import deployments

    deployments.carry_out(deployments.compare([write(tmp_path, "often", when_running="cancel")], CONF.pool), CONF)
    deployment = prefect_api.ask(api, "deployments/name/demo/often")["id"]
    runs = [prefect_api.ask(api, f"deployments/{deployment}/create_flow_run", {})["id"] for _ in range(2)]
    for run in runs:
        prefect_api.ask(
            api, f"flow_runs/{run}/set_state", {"state": {"type": "RUNNING", "name": "Running"}, "force": True}
        )
    monkeypatch.setenv("PREFECT__RUNTIME__FLOW_RUN__ID", runs[1])
    monkeypatch.setenv("PREFECT__RUNTIME__DEPLOYMENT__ID", deployment)
    yield runs[0], runs[1]


def state(api: str, run: str) -> str:
    return str(prefect_api.ask(api, f"flow_runs/{run}")["state_name"])


def test_a_run_that_replaces_another_goes_on_when_that_one_has_left(
    api: str, two_runs: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.deploy import worker_flows

    monkeypatch.setattr(worker_flows, "get_run_logger", lambda: scheduled_log())
    waiting = threading.Thread(target=worker_flows._cancel_others)
    waiting.start()
    assert eventually(lambda: state(api, two_runs[0]) == "Cancelling")
    assert waiting.is_alive(), "it waits until the other has saved and left"
    left = {"state": {"type": "CANCELLED", "name": "Cancelled"}, "force": True}
    prefect_api.ask(api, f"flow_runs/{two_runs[0]}/set_state", left)
    waiting.join(400)
    assert not waiting.is_alive() and state(api, two_runs[1]) == "Running"


def test_one_that_does_not_leave_is_named(api: str, two_runs: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.deploy import worker_flows

    monkeypatch.setattr(worker_flows, "get_run_logger", lambda: scheduled_log())
    monkeypatch.setattr(worker_flows, "PATIENCE", 0.0)
    with pytest.raises(StepError, match="did not leave within"):
        worker_flows._cancel_others()


def scheduled_log() -> Any:
    """A logger outside of a run."""
    import logging

    return logging.getLogger("tests")


def test_the_form_of_a_deployment_refuses_a_wrong_value(api: str, tmp_path: Path) -> None:
    from flows.deploy import deployments

    wanted = read(write(tmp_path, "form"), CONF.pool)
    deployments.carry_out(deployments.compare([tmp_path / "form.yaml"], CONF.pool), CONF)
    deployment = prefect_api.ask(api, "deployments/name/demo/form")["id"]
    recipe = {**wanted.recipe, "tokenizer": {**wanted.recipe["tokenizer"], "vocab_size": "many"}}
    with pytest.raises(HostError, match=r"vocab_size|many"):
        prefect_api.ask(api, f"deployments/{deployment}/create_flow_run", {"parameters": {"recipe": recipe}})
    assert prefect_api.ask(api, f"deployments/{deployment}/create_flow_run", {"parameters": {"recipe": wanted.recipe}})[
        "id"
    ]
