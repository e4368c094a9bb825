"""The engine on a real Prefect server, with real child processes."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.core.services import prefect_api
from tasks.core.store.open import open_store
from tasks.core.store.store import Store
from tests.toy_process import Toy, eventually

TEXTS = ("a=hello", "b=world")


@pytest.fixture
def store(home: Path) -> Store:
    return open_store()


def task_states(url: str, name: str = "") -> list[tuple[str, str]]:
    """(task run, state name) of the newest flow run, as Prefect itself has them: it records events as they come in."""
    newest = {"sort": "START_TIME_DESC", "limit": 1, "flows": {"name": {"any_": ["toy"]}}}
    (flow,) = prefect_api.ask(url, "flow_runs/filter", newest)
    runs = prefect_api.ask(url, "task_runs/filter", {"flow_runs": {"id": {"any_": [flow["id"]]}}})
    return sorted((run["name"], run["state_name"] or "") for run in runs)


def test_a_second_run_is_cached_in_prefect_too(home: Path, prefect_url: str) -> None:
    toy = Toy(home, prefect_url, *TEXTS)
    first = toy.wait()
    assert set(first["states"].values()) == {"completed"}
    shutil.rmtree(home / "store/_locks")
    second = Toy(home, prefect_url, *TEXTS).wait()
    assert set(second["states"].values()) == {"cached"}
    assert all(outcome["attempts"] == 0 for outcome in second["outcomes"])
    assert not (home / "store/_locks").exists(), "a hit takes no lease"
    names = ["join", "make[a]", "make[b]", "shout[a]", "shout[b]", "train"]
    wanted = [(name, "Cached") for name in names]
    assert eventually(lambda: task_states(prefect_url) == wanted), task_states(prefect_url)
    assert [o["digest"] for o in first["outcomes"]] == [o["digest"] for o in second["outcomes"]]
    newest = {"artifacts": {"key": {"any_": ["toy-train-progress"]}}, "sort": "CREATED_DESC", "limit": 1}
    (shown,) = prefect_api.ask(prefect_url, "artifacts/filter", newest)
    assert shown["type"] == "progress"
    assert (shown["data"], shown["description"]) == (100.0, "step 20/20") and shown["task_run_id"]
    told = [line for line in toy.log.read_text().splitlines() if line.startswith("train: ")]
    assert told == [f"train: step {number}/20" for number in range(1, 21)], "a terminal has the same events"


def test_a_store_that_was_moved_still_hits(home: Path, prefect_url: str) -> None:
    Toy(home, prefect_url, *TEXTS).wait()
    moved = home.rename(home.with_name("moved home"))
    assert set(Toy(moved, prefect_url, *TEXTS).wait()["states"].values()) == {"cached"}


def test_only_a_damaged_artifact_is_made_again(home: Path, prefect_url: str, store: Store) -> None:
    Toy(home, prefect_url, *TEXTS).wait()
    victim = next(store.manifests("join"))
    (store.local(victim) / "content/all.txt").write_text("")
    again = Toy(home, prefect_url, *TEXTS).wait()
    assert {label for label, state in again["states"].items() if state == "completed"} == {"join"}


def test_an_infrastructure_error_is_tried_again_and_bad_data_are_not(home: Path, prefect_url: str) -> None:
    flaky = Toy(home, prefect_url, "a=flaky").wait()
    assert next(o["attempts"] for o in flaky["outcomes"] if o["step"] == "join") == 2
    bad = Toy(home, prefect_url, "a=bad").wait()
    assert bad["error"] == "DataError: the text is BAD"
    assert next(o["attempts"] for o in bad["outcomes"] if o["step"] == "join") == 1
    assert "train" not in bad["states"]


def test_a_child_that_dies_without_progress_uses_up_its_retries(home: Path, prefect_url: str) -> None:
    dead = Toy(home, prefect_url, "a=die").wait()
    assert dead["error"].startswith("ChildKilled: the child process exited without a status (SIGKILL)")
    assert next(o["attempts"] for o in dead["outcomes"] if o["step"] == "join") == 3


def test_until_stops_after_the_step(home: Path, prefect_url: str) -> None:
    found = Toy(home, prefect_url, *TEXTS, TOY_UNTIL="shout").wait()
    assert found["state"] == "reached"
    assert list(found["states"]) == ["make[a]", "make[b]", "shout[a]", "shout[b]"]


def test_refresh_makes_a_hit_again_and_what_follows_stays(home: Path, prefect_url: str, store: Store) -> None:
    Toy(home, prefect_url, *TEXTS).wait()
    before = next(store.manifests("join"))
    states = Toy(home, prefect_url, *TEXTS, TOY_REFRESH="join").wait()["states"]
    assert {label for label, state in states.items() if state == "completed"} == {"join"}
    after = next(store.manifests("join"))
    assert (after.digest, after.attempt != before.attempt) == (before.digest, True)


def altered(store: Store) -> None:
    """Make the trained artifact look as if other code had made it."""
    manifest = next(store.manifests("train"))
    name = f"train/{manifest.key}/manifest.json"
    changed = replace(manifest, made_by={**manifest.made_by, "fingerprint": "0", "code": {"tests.toy": "0000"}})
    store.backend.write(name, changed.to_json(), store.backend.read(name)[1])


def test_changed_code_of_an_expensive_step_asks_and_adopts_or_runs_again(
    home: Path, prefect_url: str, store: Store
) -> None:
    Toy(home, prefect_url, *TEXTS).wait()
    altered(store)
    asked = Toy(home, prefect_url, *TEXTS).wait()
    assert "its artifact was made by other code" in asked["error"]
    rerun = Toy(home, prefect_url, *TEXTS, TOY_ON_CODE_CHANGE="rerun").wait()
    assert {label for label, state in rerun["states"].items() if state == "completed"} == {"train"}
    altered(store)
    adopted = Toy(home, prefect_url, *TEXTS, TOY_ON_CODE_CHANGE="adopt").wait()
    assert set(adopted["states"].values()) == {"cached"}
    assert set(Toy(home, prefect_url, *TEXTS).wait()["states"].values()) == {"cached"}, "adopted once for all"
