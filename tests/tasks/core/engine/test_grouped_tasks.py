"""Many shards in few task runs: each is still made, cached, tried again and reported by itself."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core import liveness
from tasks.core.engine import grouped_tasks
from tasks.core.engine.grouped_tasks import ALONE, RUNS, grouped, label_of, work_off
from tasks.core.engine.workspace import Job, Outcome
from tasks.core.errors import DataError, Transient
from tasks.core.services import prefect_api
from tasks.core.step import Call
from tasks.core.store.lease import stopping
from tasks.core.store.open import open_store
from tests import toy
from tests.toy_process import Toy, eventually, living

TEXTS = ("a=hello", "b=world", "c=shaky", "d=spoilt", "e=end")


def jobs(number: int, step: Any = toy.make) -> list[Job]:
    calls = [Call(step, ({"shard": f"s{n}", "text": "x"},), toy.ToyConf()) for n in range(number)]
    return [Job(call, str(n), {}, Outcome(step.name, call.shard)) for n, call in enumerate(calls)]


@given(st.integers(1, 3000))
def test_every_job_is_in_one_task_run_in_order_and_no_run_has_much_more_than_another(number: int) -> None:
    made = jobs(number)
    groups = grouped(made)
    assert [job for group in groups for job in group] == made
    sizes = {len(group) for group in groups}
    if number <= ALONE:
        assert sizes == {1}
    else:
        assert len(groups) == RUNS and max(sizes) - min(sizes) <= 1 and min(sizes) > 1
    labels = [label_of(group) for group in groups]
    assert len(set(labels)) == len(groups), "a run is found by its name"


def test_effects_are_never_grouped() -> None:
    assert {len(group) for group in grouped(jobs(ALONE + 1, toy.judge))} == {1}


def test_what_fails_stops_nothing_and_all_failures_are_named() -> None:
    made = jobs(4)

    def one(job: Job) -> None:
        if job.key in "12":
            job.error = DataError("bad" if job.key == "1" else "worse")
            raise job.error
        job.outcome.state = "cached" if job.key == "0" else "completed"

    with pytest.raises(DataError) as caught:
        work_off(made, one)
    said = "2 of 4 failed, 1 cached, 1 made\n  make[s1]: bad\n  make[s2]: worse"
    assert str(caught.value) == said
    assert made[3].outcome.state == "completed"


@pytest.mark.parametrize(
    ("made", "state"), [("", ("Cached", "3 cached, 0 made")), ("1", ("Completed", "2 cached, 1 made"))]
)
def test_a_group_says_how_many_were_cached_and_made(made: str, state: tuple[str, str]) -> None:
    def one(job: Job) -> None:
        job.outcome.state = "completed" if job.key == made else "cached"

    ended = work_off(jobs(3), one)
    assert (ended.name, ended.message) == state


def test_a_run_that_stops_begins_no_further_shard_and_its_group_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def one(job: Job) -> None:
        begun.append(job.key)
        monkeypatch.setattr(grouped_tasks, "stopping", stopped)
        raise Transient("the run is stopping")

    stopped = type(stopping)()
    stopped.set()
    ended = work_off(jobs(3), one)
    assert begun == ["0"] and ended.is_cancelled()


def runs(url: str, flow: str = "") -> dict[str, tuple[str, str]]:
    """State and message of each task run of a flow run, the newest if none is given."""
    if not flow:
        newest = {"sort": "START_TIME_DESC", "limit": 1, "flows": {"name": {"any_": ["toy"]}}}
        flow = prefect_api.ask(url, "flow_runs/filter", newest)[0]["id"]
    found = prefect_api.ask(url, "task_runs/filter", {"flow_runs": {"id": {"any_": [flow]}}})
    return {run["name"]: (run["state_name"], run["state"]["message"] or "") for run in found if run["state"]}


def test_of_a_group_with_one_bad_shard_exactly_that_fails_and_the_rest_is_kept(home: Path, prefect_url: str) -> None:
    toy = Toy(home, prefect_url, *TEXTS, TOY_ALONE="2")
    found = toy.wait()
    assert found["error"] == "DataError: the shard is spoilt"
    shouted = {o["shard"]: (o["state"], o["attempts"], o["message"]) for o in found["outcomes"] if o["step"] == "shout"}
    whole = ("completed", 1, "")
    assert shouted == {
        "a": whole, "b": whole, "c": ("completed", 2, ""), "d": ("failed", 1, "the shard is spoilt"), "e": whole,
    }  # fmt: skip
    assert {m.shard for m in open_store().manifests("shout")} == {"a", "b", "c", "e"}
    (logs,) = (home / "logs").glob("*-*-*")
    assert "shouting" in (logs / "shout[b].log").read_text() and "shaky" not in (logs / "shout[b].log").read_text()
    named = "shout[3 shards, c to e]"
    assert eventually(lambda: runs(prefect_url).get(named, ("", ""))[0] == "Failed"), runs(prefect_url)
    shown = runs(prefect_url)
    assert shown["make[3 shards, c to e]"] == ("Completed", "0 cached, 3 made")
    assert "1 of 3 failed, 0 cached, 2 made" in shown[named][1] and "shout[d]: the shard is spoilt" in shown[named][1]
    assert set(shown) == {"make[2 shards, a to b]", "make[3 shards, c to e]", "shout[2 shards, a to b]", named}
    texts = [text.replace("spoilt", "better") for text in TEXTS]
    again = Toy(home, prefect_url, *texts, TOY_ALONE="2").wait()
    states = {o["shard"]: (o["state"], o["attempts"]) for o in again["outcomes"] if o["step"] == "shout"}
    assert states == {"d": ("completed", 1), **dict.fromkeys("abce", ("cached", 0))}
    assert eventually(lambda: runs(prefect_url).get(named) == ("Completed", "2 cached, 1 made")), runs(prefect_url)
    assert runs(prefect_url)["make[2 shards, a to b]"] == ("Cached", "2 cached, 0 made")


def test_an_interrupted_group_is_cancelled_and_the_next_run_goes_on(home: Path, prefect_url: str) -> None:
    toy = Toy(home, prefect_url, *TEXTS[:2], "c=fine", pause=1.0, TOY_ALONE="2")
    toy.until(toy.started("make[b]"))
    (about,) = liveness.living(home)
    toy.process.send_signal(signal.SIGINT)
    assert toy.process.wait(600) == 130, toy.log.read_text()[-2000:]
    assert eventually(lambda: not living(str(home)))
    wanted = {"make[a]", "make[2 shards, b to c]"}
    ended = eventually(lambda: {name for name, (s, _) in runs(prefect_url, about["run"]).items() if s == "Cancelled"})
    assert ended and set(runs(prefect_url, about["run"])) <= wanted
    again = Toy(home, prefect_url, *TEXTS[:2], "c=fine", TOY_ALONE="2").wait()
    assert again["state"] == "completed" and set(again["states"].values()) <= {"completed", "cached"}


def test_two_runs_at_once_make_each_shard_of_a_group_once(home: Path, prefect_url: str) -> None:
    pair = [Toy(home, prefect_url, *TEXTS[:3], pause=0.2, TOY_ALONE="2") for _ in range(2)]
    found = [toy.wait() for toy in pair]
    for label in found[0]["states"]:
        assert sorted(f["states"][label] for f in found) in (["cached", "completed"], ["cached", "cached"]), label
    assert len(list(open_store().manifests())) == 8
