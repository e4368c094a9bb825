"""Which runs there were and what their steps printed, from records, announcements and log files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from flows.runs import history
from tasks.core.errors import ConfigError
from tasks.core.liveness import Announced
from tasks.core.store.local import LocalBackend
from tasks.core.store.store import Store

NOW = 2_000.0
LOST = "00000000-0000-0000-0000-000012345678"
METRICS = {
    "pretrain": {"loss": 5.0},
    "evaluate_lm": {
        "beats_gzip": 1,
        "bits_per_byte": 2.0,
        "bits_per_byte_lo": 1.9,
        "bits_per_byte_hi": 2.1,
        "perplexity": 9.0,
    },
}


def record(run: str, started: float, state: str = "completed", **more: Any) -> dict[str, Any]:
    """A record as a run leaves it."""
    steps = [{"step": "a", "state": state} for state in ("cached", "cached", "completed")]
    return {"run": run, "name": f"demo-{run[:4]}", "recipe": "demo", "state": state, "started": started,
            "seconds": 5.0, "steps": steps, "metrics": METRICS, **more}  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(LocalBackend(tmp_path / "store"))
    made.record_run("1", record("aaaa-1", 1_000.0))
    made.record_run("2", record("aabb-2", 1_500.0, "refused"))
    return made


def test_runs_under_way_ended_and_lost_are_listed_newest_first(tmp_path: Path, store: Store) -> None:
    announced = Announced(tmp_path, "cccc-3", name="demo-c", recipe="demo", started=1_900.0)
    lost = tmp_path / f"logs/{LOST}"
    (tmp_path / "logs/services").mkdir(parents=True)
    (tmp_path / "logs/services/prefect.log").touch()
    lost.mkdir(parents=True)
    (lost / "pretrain.log").write_text("x\n")
    os.utime(lost / "pretrain.log", (1_200.0, 1_200.0))
    found = history.runs(tmp_path, store, NOW)
    assert [(run.id, run.state) for run in found] == [
        ("cccc-3", "running"), ("aabb-2", "refused"), ("12345678", "lost"), ("aaaa-1", "completed"),
    ]  # fmt: skip
    assert (found[0].seconds, found[0].pid, found[1].seconds) == (100.0, os.getpid(), 5.0)
    announced.withdraw()
    assert [run.id for run in history.runs(tmp_path, store, NOW)] == ["aabb-2", "12345678", "aaaa-1"]


def test_a_run_that_recorded_its_end_before_it_withdrew_is_listed_once(tmp_path: Path, store: Store) -> None:
    announced = Announced(tmp_path, "aabb-2")
    assert [run.state for run in history.runs(tmp_path, store)] == ["refused", "completed"]
    announced.withdraw()


def test_a_row_counts_steps_and_shows_the_first_evaluations_metric_whatever_the_order(
    tmp_path: Path, store: Store
) -> None:
    run = history.runs(tmp_path, store)[0]
    assert (run.made, run.cached) == (1, 2)
    assert run.metric == {"step": "evaluate_lm", "name": "bits_per_byte", "value": 2.0, "low": 1.9, "high": 2.1}
    assert history.primary_metric({"metrics": {}}) is None
    assert (history.primary_metric({"metrics": {"pretrain": {"loss": 5.0}}}) or {})["name"] == "loss"


def test_a_run_is_found_by_id_its_start_its_name_and_as_last(tmp_path: Path, store: Store) -> None:
    known = history.runs(tmp_path, store)
    for ref, run in {"last": "aabb-2", "aab": "aabb-2", "aaaa-1": "aaaa-1", "demo-aaaa": "aaaa-1"}.items():
        assert history.find(known, ref).run == run
    with pytest.raises(ConfigError, match=r"'aa' means 2 runs[^$]*aabb-2  demo-aabb"):
        history.find(known, "aa")
    with pytest.raises(ConfigError, match=r"no run 'x'[^$]*aaaa-1"):
        history.find(known, "x")
    with pytest.raises(ConfigError, match="no run here yet"):
        history.find([], "last")


def test_only_an_ended_run_has_a_record(tmp_path: Path, store: Store) -> None:
    assert history.record_of(store, tmp_path, "last")["run"] == "aabb-2"
    announced = Announced(tmp_path, "cccc-3", started=9_000_000_000.0)
    with pytest.raises(ConfigError, match="still under way"):
        history.record_of(store, tmp_path, "last")
    announced.withdraw()


def test_log_lines_come_once_and_a_torn_one_when_it_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "logs/r"
    folder.mkdir(parents=True)
    log = folder / "clean_shard[a-000].log"
    log.write_text("one\ntw")
    (folder / "pretrain.log").write_text("")
    read = history.Logs(tmp_path, "r", "clean_shard")
    assert [(line.label, line.text) for line in read.lines()] == [("clean_shard[a-000]", "one")]
    with log.open("a") as file:
        file.write("o\nthr")
    assert [line.text for line in read.lines()] == ["two"]
    assert [line.text for line in read.lines()] == []
    assert [line.text for line in read.rest()] == ["thr"]
    assert history.Logs(tmp_path, "r", "clean_shard[a-000]").labels() == ["clean_shard[a-000]"]


def test_a_step_without_a_log_is_told_which_have_one(tmp_path: Path) -> None:
    (tmp_path / "logs/r").mkdir(parents=True)
    with pytest.raises(ConfigError, match="no logs in"):
        history.Logs(tmp_path, "r").check()
    (tmp_path / "logs/r/pretrain.log").touch()
    with pytest.raises(ConfigError, match="no log of 'clean'; there are: pretrain"):
        history.Logs(tmp_path, "r", "clean").check()
