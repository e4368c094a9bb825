"""Triggers and notifications of deployments, on a real Prefect server and a listener of our own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from conf.compose import compose
from conf.schema.deployment import NotifyConf
from flows.runs import running
from tasks.core.errors import ConfigError
from tasks.core.services import missed_runs, prefect_api, run_events
from tests.flows.deploy.test_deployments import CONF, write
from tests.toy_process import eventually

HOOK = "TESTS_HOOK_URL"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """What was posted to the address in HOOK."""
    found: list[dict[str, Any]] = []

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv(HOOK, f"http://127.0.0.1:{server.server_port}/secret-path")
    yield found
    server.shutdown()


def put(*files: Path, prune: bool = False) -> dict[str, Any]:
    """What changed, put in force."""
    from flows.deploy import deployments

    changes = deployments.compare(list(files), CONF.pool, prune)
    deployments.carry_out(changes, CONF)
    return {change.name: change for change in changes}


def runs(api: str, name: str) -> list[dict[str, Any]]:
    """The runs of a deployment of the recipe demo."""
    return list(prefect_api.ask(api, "flow_runs/filter", {"deployments": {"name": {"any_": [name]}}}))


def automations(api: str) -> list[dict[str, Any]]:
    return list(prefect_api.ask(api, "automations/filter", {}))


def test_a_promotion_starts_a_run_and_is_told_and_both_go_with_their_lines(
    api: str,
    tmp_path: Path,
    told: list[dict[str, Any]],
) -> None:
    notify = [{"about": ["promotion", "drift"], "webhook_env": HOOK}]
    file = write(tmp_path, "after", triggers=[{"kind": "promotion", "model": "demo-base"}], notify=notify)
    assert put(file)["demo/after"].action == "create"
    assert put(file)["demo/after"].action == "keep"
    mine = [found for found in automations(api) if found["name"].startswith("demo/after: ")]
    assert len(mine) == 3 and "secret-path" not in json.dumps(mine)

    run_events.tell(run_events.PROMOTION, run_events.resource("model", "other"), "another model")
    run_events.tell(run_events.PROMOTION, run_events.resource("model", "demo-base"), "demo-base version 3 is champion")
    run_events.tell(run_events.DRIFT, run_events.resource("recipe", "demo"), "divergence 0.9")
    assert eventually(lambda: len(told) == 2)
    assert {(one["subject"], one["body"]) for one in told} == {
        ("fromzero: promotion of demo/after", "demo-base version 3 is champion"),
        ("fromzero: drift of demo/after", "divergence 0.9"),
    }
    assert eventually(lambda: len(runs(api, "after")) == 1), "once, and not for the other model"

    prefect_api.ask(api, f"automations/{mine[0]['id']}", method="DELETE")
    assert put(file)["demo/after"].action == "change", "what somebody has deleted is put back"
    write(tmp_path, "after", notify=[{"about": ["drift"], "webhook_env": HOOK}])
    lines = put(file)["demo/after"].lines
    assert "triggers.promotion demo-base.model: demo-base → unset" in lines
    assert f"notify.webhook {HOOK}.about: ['drift', 'promotion'] → ['drift']" in lines
    assert [one["name"] for one in automations(api) if "demo/after" in one["name"]] == [
        f"demo/after: tell webhook {HOOK} of drift"
    ]
    put(write(tmp_path, "other"), prune=True)
    assert not [one for one in automations(api) if "demo/after" in one["name"]]


def test_a_failed_run_is_told_with_its_reason_and_starts_what_follows_it(
    api: str,
    tmp_path: Path,
    told: list[dict[str, Any]],
) -> None:
    first = write(tmp_path, "first", notify=[{"webhook_env": HOOK}])
    second = write(tmp_path, "second", triggers=[{"kind": "failure", "of": "demo/first"}])
    put(second, first)
    deployment = prefect_api.ask(api, "deployments/name/demo/first")["id"]
    run = prefect_api.ask(api, f"deployments/{deployment}/create_flow_run", {})
    state = {"type": "FAILED", "name": "Failed", "message": "the data are bad"}
    prefect_api.ask(api, f"flow_runs/{run['id']}/set_state", {"state": state, "force": True})
    assert eventually(lambda: told)
    assert told[0]["subject"] == "fromzero: failure of demo/first"
    assert told[0]["body"].startswith(f"{run['name']}: the data are bad")
    assert eventually(lambda: len(runs(api, "second")) == 1)
    put(first, prune=True)


def test_what_is_missing_is_named_before_anything_is_put_in_force(
    api: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(HOOK, raising=False)
    with pytest.raises(ConfigError, match=f"demo/unset: slack_env names {HOOK}, which is not set"):
        put(write(tmp_path, "unset", notify=[{"slack_env": HOOK}]))
    assert prefect_api.ask(api, "deployments/name/demo/unset") is None
    with pytest.raises(ConfigError, match="demo/none is not deployed"):
        put(write(tmp_path, "lost", triggers=[{"kind": "failure", "of": "demo/none"}]))
    with pytest.raises(ConfigError, match="no block slack-webhook/none"):
        put(write(tmp_path, "lost", notify=[{"block": "slack-webhook/none"}]))
    assert prefect_api.ask(api, "deployments/name/demo/lost") is None


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"slack_env": "https://hooks.slack.com/x"}, "the address itself stays out of the file"),
        ({}, "takes one of slack_env, webhook_env, email_env, block"),
        ({"slack_env": "A", "email_env": "B"}, "given: slack_env and email_env"),
    ],
)
def test_a_notification_goes_one_way_and_its_address_is_in_no_file(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        NotifyConf.model_validate(given)


def test_new_data_are_told_once_and_only_of_the_sources_that_count(home: Path, tmp_path: Path) -> None:
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "one.txt").write_text("A first delivery of some plain words.")
    chosen = compose("text", (f"data.sources.mine.paths=[{texts}]", "data.shard_mb=0.0001"))
    assert running.unfetched(chosen, "text/daily", ("other",)) == []
    assert running.unfetched(chosen, "text/daily") == ["mine-000"]
    assert running.unfetched(chosen, "text/daily") == [], "a run that fails is no reason to start it every minute"
    (texts / "two.txt").write_text("A second delivery of some plain words. " * 5)
    assert running.unfetched(chosen, "text/daily") == ["mine-001"]
    assert not list((home / "store").glob("fetch_shard*")), "nothing is made"


def test_of_the_times_that_passed_while_nothing_was_up_each_deployment_makes_up_for_the_last(
    api: str,
    tmp_path: Path,
) -> None:
    put(write(tmp_path, "hourly", schedule={"kind": "interval", "minutes": 60}))
    assert eventually(lambda: len(runs(api, "hourly")) >= 3), "the scheduler sets runs beforehand"
    asked = prefect_api.ask(api, "deployments/name/demo/hourly")["id"]
    by_hand = prefect_api.ask(api, f"deployments/{asked}/create_flow_run", {})["id"]
    before = sorted((run["expected_start_time"], run["id"]) for run in runs(api, "hourly") if run["auto_scheduled"])
    assert missed_runs.once(api, datetime.now(UTC) - timedelta(days=1)) == 0
    assert missed_runs.once(api, datetime.now(UTC) + timedelta(days=400)) >= len(before) - 1
    states = {run["id"]: run["state_name"] for run in runs(api, "hourly")}
    assert {states[run] for _, run in before[:-1]} == {"Missed"}
    assert states[before[-1][1]] == states[by_hand] == "Scheduled"
    put(write(tmp_path, "other"), prune=True)
