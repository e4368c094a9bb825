"""A person's approval of an accepted model, the question put to a real Prefect server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from conf.schema.release import RegisterConf
from tasks.core.artifact import Artifact
from tasks.core.errors import ConfigError, Refused
from tasks.core.services import prefect_api
from tasks.core.workdir import Workdir
from tasks.register import approval, journal, registry
from tasks.register.mlflow_writer import client_for
from tasks.register.promotion import promote
from tasks.register.steps import answer, find_promoted, promote_model, register_model, rollback
from tests.tasks.register.conftest import FakeStore, Publish
from tests.tasks.register.test_steps import decide


@pytest.fixture(scope="session")
def asking(prefect_url: str) -> str:
    """The API of a server that knows the flow which asks, and a worker that serves it."""
    prefect_api.ask(prefect_url, "work_pools/", {"name": "asking", "type": "process"})
    prefect_api.ask(
        prefect_url, "work_pools/asking/workers/heartbeat", {"name": "worker", "heartbeat_interval_seconds": 600}
    )
    flow = prefect_api.ask(prefect_url, "flows/", {"name": "approval"})
    made = {"name": "approval", "flow_id": flow["id"], "enforce_parameter_schema": False, "work_pool_name": "asking"}
    prefect_api.ask(prefect_url, "deployments/", made)
    return prefect_url


@pytest.fixture
def registered(
    asking: str, monkeypatch: pytest.MonkeyPatch, store: FakeStore, home: Path, work: Workdir, tiny: Path,
    publish: Publish, evaluation: Artifact, base: RegisterConf,
) -> dict[str, Any]:  # fmt: skip
    """A first version, and a server to ask."""
    monkeypatch.setenv("PREFECT_API_URL", asking)
    found: dict[str, Any] = register_model.function(
        publish("pretrain", "model", tiny), evaluation, conf=base, work=work
    )
    return found


@pytest.fixture
def decision(publish: Publish) -> Artifact:
    return decide(publish, True)


def ask(registered: dict[str, Any], decision: Artifact, work: Workdir, hours: float = 1.0) -> dict[str, Any]:
    """What a run makes of an accepted version when a person has the last word."""
    found: dict[str, Any] = promote_model.function(registered, None, decision, hours, conf=None, work=work)
    return found


def champion(uri: str) -> int | None:
    found = registry.with_alias(uri, "tiny-base", registry.CHAMPION)
    return found.version if found else None


def test_an_accepted_version_waits_until_a_person_says_yes_and_the_journal_says_who_and_why(
    uri: str, store: FakeStore, registered: dict[str, Any], decision: Artifact, work: Workdir
) -> None:
    found = ask(registered, decision, work)
    assert found["waiting"] and not found["promoted"] and found["form"] in found["message"]
    assert champion(uri) is None
    again = find_promoted(registered, None, decision, 1.0)
    assert again is not None and again["form"] == found["form"], "a second run waits for the same answer"
    moved = answer(store, "tiny-base", 1, True, "reads well", "Ada")
    assert (moved["moved"], champion(uri)) == (True, 1)
    entry = journal.history(store, "tiny-base")[-1]
    assert (entry["action"], entry["by"], entry["reason"]) == ("promote by a person", "Ada", "reads well")
    done = find_promoted(registered, None, decision, 1.0)
    assert done is not None and done["promoted"]


def test_a_no_is_a_refusal_with_its_reason_on_this_run_and_the_next(
    uri: str, store: FakeStore, registered: dict[str, Any], decision: Artifact, work: Workdir
) -> None:
    ask(registered, decision, work)
    assert not answer(store, "tiny-base", 1, False, "too dull", "Ada")["moved"]
    assert champion(uri) is None
    assert find_promoted(registered, None, decision, 1.0) is None
    with pytest.raises(Refused, match="a person refused it: Ada: too dull"):
        ask(registered, decision, work)
    with pytest.raises(Refused, match="does not wait"):
        answer(store, "tiny-base", 1, True, "after all", "Ada")


def test_no_answer_in_time_is_a_refusal_and_a_late_yes_changes_nothing(
    uri: str, store: FakeStore, registered: dict[str, Any], decision: Artifact, work: Workdir
) -> None:
    ask(registered, decision, work)
    past = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    client_for(uri).set_model_version_tag("tiny-base", "1", approval.UNTIL, past)
    with pytest.raises(Refused, match="does not wait"):
        answer(store, "tiny-base", 1, True, "reads well", "Ada")
    with pytest.raises(Refused, match="nobody answered until"):
        ask(registered, decision, work)
    assert champion(uri) is None


def test_a_yes_is_refused_once_the_champion_is_another_than_the_one_compared(
    uri: str, store: FakeStore, registered: dict[str, Any], decision: Artifact, work: Workdir
) -> None:
    ask(registered, decision, work)
    second = client_for(uri).create_model_version("tiny-base", registry.resolve(uri, "tiny-base@1").location)
    client_for(uri).set_registered_model_alias("tiny-base", "champion", second.version)
    with pytest.raises(Refused, match="was compared with no champion, but the champion is now version 2"):
        answer(store, "tiny-base", 1, True, "reads well", "Ada")
    assert journal.history(store, "tiny-base")[-1]["action"] == journal.OUTSIDE


def test_a_form_that_was_lost_is_asked_anew(
    registered: dict[str, Any], decision: Artifact, work: Workdir, asking: str
) -> None:
    first = ask(registered, decision, work)
    run = first["form"].rpartition("/")[2]
    prefect_api.ask(
        asking, f"flow_runs/{run}/set_state", {"state": {"type": "CRASHED", "name": "Crashed"}, "force": True}
    )
    assert find_promoted(registered, None, decision, 1.0) is None
    assert ask(registered, decision, work)["form"] != first["form"]


def test_the_command_answers_too(
    uri: str, store: FakeStore, registered: dict[str, Any], decision: Artifact, work: Workdir
) -> None:
    ask(registered, decision, work)
    promote(store, uri, "tiny-base", 1, "by hand")
    assert champion(uri) == 1
    with pytest.raises(Refused, match=r"does not wait for an answer \(by command: by hand\)"):
        answer(store, "tiny-base", 1, False, "too late", "Ada")


def test_the_question_carries_the_gates_table_and_a_second_run_for_the_deadline(
    registered: dict[str, Any], decision: Artifact, work: Workdir, asking: str
) -> None:
    found = ask(registered, decision, work, hours=2.0)
    run = prefect_api.ask(asking, f"flow_runs/{found['form'].rpartition('/')[2]}")
    rows = dict(run["parameters"]["rows"])
    assert rows["candidate"] == "tiny-base version 1" and rows["interval"] == "-0.2 to -0.05"
    of_form = {"flow_runs": {"deployment_id": {"any_": [run["deployment_id"]]}}}  # schedules of other tests are many
    late = [
        one
        for one in prefect_api.ask(asking, "flow_runs/filter", of_form)
        if one["parameters"].get("asked") == run["id"]
    ]
    start = datetime.fromisoformat(late[0]["next_scheduled_start_time"])
    assert start - approval.SLACK == pytest.approx(datetime.fromisoformat(found["until"]), abs=timedelta(seconds=1))


def test_without_a_server_to_ask_there_is_one_clear_word(monkeypatch: pytest.MonkeyPatch, prefect_url: str) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    with pytest.raises(ConfigError, match="fromzero up"):
        approval.form()


def test_what_was_rolled_back_is_not_asked_about(
    store: FakeStore, registered: dict[str, Any], decision: Artifact, work: Workdir, uri: str
) -> None:
    ask(registered, decision, work)
    answer(store, "tiny-base", 1, True, "reads well", "Ada")
    second = client_for(uri).create_model_version("tiny-base", registry.resolve(uri, "tiny-base@1").location)
    promote(store, uri, "tiny-base", int(second.version), "trying", force=True)
    assert rollback(store, "tiny-base")["to"] == 1
    assert [champion.version for champion in journal.champions(journal.history(store, "tiny-base"))] == [1]
