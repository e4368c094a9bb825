"""Two runs of the toy flow, told apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.runs.diff import diff
from tasks.core.plan.planner import Planner
from tasks.core.step import interpreted_by
from tasks.core.store.local import LocalBackend
from tasks.core.store.store import Store
from tests import toy
from tests.tasks.core.plan.test_planner import TEXTS, run

SAMPLE = {"prompt": "Once", "how": "greedy", "text": "upon"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(LocalBackend(tmp_path))


def record(store: Store, run_id: str, texts: dict[str, str] = TEXTS, word: str = "one", **more: Any) -> dict[str, Any]:
    """Run the toy flow and record it as a run does."""
    run(store, texts, word)
    planner = Planner(store)
    with interpreted_by(planner):
        toy.wiring(texts, toy.ToyConf(word=word))
    digests = {manifest.key: manifest.digest for manifest in store.manifests()}
    steps = [
        {"step": row.step, "shard": row.shard, "key": row.key, "digest": digests[row.key]}
        for row in planner.rows
        if row.key is not None
    ]
    head = {"run": run_id, "name": run_id, "state": "completed", "started": 0.0}
    return {**head, "steps": steps, "metrics": {}, "samples": {}, **more}


def test_a_run_does_not_differ_from_itself(store: Store) -> None:
    same = record(store, "a", metrics={"m": {"loss": 1.0}}, samples={"m": [SAMPLE]}, config={"word": "one"})
    found = diff(store, same, same)
    assert (found["config"], found["code"], found["metrics"], found["samples"], found["gone"]) == ([], [], [], [], [])
    assert found["data"] == {"added": [], "removed": [], "changed": [], "counts": []}


def test_options_are_shown_by_dotted_name_with_old_and_new_value(store: Store) -> None:
    old = record(store, "a", config={"toy": {"word": "one", "n": 1}})
    new = record(store, "b", word="two", config={"toy": {"word": "two", "n": 1, "more": True}})
    assert diff(store, old, new)["config"] == [
        {"name": "toy.more", "old": None, "new": True}, {"name": "toy.word", "old": "one", "new": "two"},
    ]  # fmt: skip


def test_without_recorded_options_those_of_the_steps_are_compared(store: Store) -> None:
    old, new = record(store, "a"), record(store, "b", word="two", config={"toy": {"word": "two"}})
    found = diff(store, old, new)["config"]
    assert {(row["old"], row["new"]) for row in found} == {("one", "two")}
    assert all(row["name"].endswith(".word") for row in found)


def test_a_record_without_options_and_artifacts_does_not_make_every_option_a_difference(store: Store) -> None:
    new = record(store, "b", word="two", config={"toy": {"word": "two"}})
    found = diff(store, {**new, "run": "a", "config": None, "steps": []}, new)
    assert (found["config"], found["without_config"]) == ([], ["a"])


def test_shards_that_came_went_and_changed_are_told(store: Store) -> None:
    found = diff(store, record(store, "a", {"a": "x", "b": "y"}), record(store, "b", {"b": "z", "c": "x"}))["data"]
    assert (found["added"], found["removed"], found["changed"]) == (["c"], ["a"], ["b"])


def test_modules_whose_digest_differs_are_named_with_their_steps(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    same = record(store, "a")
    by_key = {m.key: replace(m, made_by={"code": {"m.a": "1", "m.b": "2"}}) for m in store.manifests()}
    changed = {m.key: replace(m, made_by={"code": {"m.a": "1", "m.b": "3"}}) for m in store.manifests()}
    looks = iter([by_key] * len(same["steps"]) + [changed] * len(same["steps"]))
    monkeypatch.setattr(store, "look", lambda step, key: next(looks)[key])
    (row,) = diff(store, same, same)["code"]
    assert (row["module"], row["old"], row["new"]) == ("m.b", "2", "3")
    assert set(row["steps"]) == {step["step"] for step in same["steps"]}


def test_metrics_come_with_intervals_and_difference_and_samples_side_by_side(store: Store) -> None:
    metrics = [{"e": {"x": value, "x_lo": value - 1, "x_hi": value + 1, "same": 3}} for value in (5.0, 4.0)]
    after = {**SAMPLE, "text": "a time"}
    old = record(store, "a", metrics=metrics[0], samples={"e": [SAMPLE]})
    new = record(store, "b", metrics={**metrics[1], "f": {"y": 1}}, samples={"e": [after]})
    found = diff(store, old, new)
    assert found["metrics"] == [
        {"step": "e", "name": "x", "old": {"value": 5.0, "low": 4.0, "high": 6.0},
         "new": {"value": 4.0, "low": 3.0, "high": 5.0}, "difference": -1.0},
        {"step": "f", "name": "y", "old": None, "new": {"value": 1, "low": None, "high": None}, "difference": None},
    ]  # fmt: skip
    assert found["samples"] == [{"step": "e", "prompt": "Once", "how": "greedy", "old": "upon", "new": "a time"}]


def test_what_the_store_has_let_go_is_counted(store: Store) -> None:
    old = record(store, "a")
    gone = next(step for step in old["steps"] if step["step"] == "train")
    store.forget("train", gone["key"])
    assert diff(store, old, old)["gone"] == [f"train/{gone['key'][:12]}"]
