"""Runs in MLflow beside the pipeline: exact through kills, restarts and an MLflow that is down."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tasks.core.artifact import Artifact
from tasks.core.errors import ConfigError
from tasks.core.events import Event
from tasks.core.small_files import read_json
from tasks.core.tracking import mlflow_sync
from tasks.core.tracking.mlflow_db import EXPERIMENT, check, prepare, tracking_uri
from tasks.core.tracking.mlflow_sync import connect
from tasks.core.tracking.tracking import Tracked, Tracking, datasets_of
from tasks.core.workdir import Workdir
from tests.mlflow_server import MlflowServer, prepared_home
from tests.toy_process import eventually

ROOT = Path(__file__).parents[4]
LIMIT = 600.0
"""Seconds that anything may take to reach MLflow: it is waited for no longer than it takes."""


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "FROMZERO_CONTEXT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def racers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[int, str]]]:
    """A home that three processes prepared at once, and what came of each."""
    home = tmp_path_factory.mktemp("template") / "new home"
    code = "from pathlib import Path; from tasks.core.tracking.mlflow_db import prepare; prepare(Path(sys.argv[1]))"
    code = f"import sys; {code}"
    command = [sys.executable, "-c", code, str(home)]
    environ = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    started = [subprocess.Popen(command, cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    return home, [(racer.wait(), racer.communicate()[1]) for racer in started]


@pytest.fixture(scope="session")
def template(racers: tuple[Path, list[tuple[int, str]]]) -> Path:
    return racers[0]


@pytest.fixture
def home(template: Path, tmp_path: Path) -> Path:
    return prepared_home(template, tmp_path / "a home")


@pytest.fixture
def work(tmp_path: Path) -> Workdir:
    work = Workdir(tmp_path / "work")
    work.make()
    return work


@pytest.fixture
def tracking(home: Path) -> Iterator[Tracking]:
    tracking = Tracking(home, "flow-1", "demo", {"flow_run": "flow-1"}, every=0.05)
    yield tracking
    tracking.close("FINISHED", timeout=5)


def client(home: Path) -> MlflowClient:
    return MlflowClient(tracking_uri(home), tracking_uri(home))


def begin(tracking: Tracking, work: Workdir, **params: Any) -> Tracked:
    return tracking.start(
        "pretrain",
        "k" * 64,
        work.scratch,
        params=params,
        tags={"fromzero.task_run": "t"},
        datasets={"tokens": {"digest": "d" * 64, "uri": "tokenize_shard", "profile": {"tokens": 5}}},
    )


def reached(work: Workdir) -> dict[str, Any]:
    """How far MLflow got with the metrics."""
    return dict(read_json(work.scratch / "mlflow.json").get("metrics.jsonl", {}))


def log_rows(work: Workdir, start: int, stop: int) -> None:
    for step in range(start, stop):
        work.log_metrics({"loss": 10.0 - step, "rate": step / 7}, step)


def runs(client: MlflowClient) -> dict[str, Any]:
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    return {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}


def steps_of(client: MlflowClient, run: str, key: str = "loss") -> list[int]:
    return [metric.step for metric in client.get_metric_history(run, key)]


def test_a_run_shows_how_far_it_is_as_terminals_do(home: Path, work: Workdir, tracking: Tracking) -> None:
    tracked, told = begin(tracking, work), Event("progress", 3, 9, "step", 0.5, 97_300.0, "loss 1.2")
    tracking.reached(work.scratch, told.whole)
    tracking.finish(tracked, "FINISHED", timeout=LIMIT)
    assert runs(client(home))["pretrain"].data.tags["fromzero.progress"] == "step 3/9  loss 1.2  left 1 d 3 h"


def test_racing_processes_prepare_one_database(racers: tuple[Path, list[tuple[int, str]]]) -> None:
    home, outcomes = racers
    assert outcomes == [(0, "")] * 3
    found = client(home).get_experiment_by_name(EXPERIMENT)
    assert found is not None and found.artifact_location == str(home / "mlflow" / "artifacts")


def test_a_prepared_home_is_left_alone_and_mlflow_is_not_imported(home: Path) -> None:
    before = (home / "mlflow" / "mlflow.db").stat().st_mtime_ns
    code = (
        "import sys; from pathlib import Path; from tasks.core.tracking.tracking import Tracking, prepare\n"
        "prepare(Path(sys.argv[1])); Tracking(Path(sys.argv[1]), 'r', 'n').close('FINISHED')\n"
        "sys.exit('mlflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(home)], cwd=ROOT).returncode == 0
    assert (home / "mlflow" / "mlflow.db").stat().st_mtime_ns == before


def test_another_tracking_uri_leaves_the_home_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere:5000")
    assert prepare(tmp_path / "home") == "http://elsewhere:5000"
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    "given", ["sqlite:///mlflow.db", "mlruns", "./mlruns", "/data/mlruns", "file:///data", "file:x"]
)
def test_a_tracking_uri_that_means_another_place_in_each_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    with pytest.raises(ConfigError, match=r"by its whole path .*unset it"):
        check(tmp_path)


@pytest.mark.parametrize(
    "given", ["https://a.b", "sqlite:////data/mlflow.db", "postgresql+psycopg2://u:p@h/mlflow", "databricks"]
)
def test_a_tracking_uri_of_one_place_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", given)
    assert tracking_uri(tmp_path) == given


def test_an_experiment_in_a_database_elsewhere_keeps_its_files_in_the_home(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow itself would keep them in ./mlruns of the folder where a process stands."""
    shutil.move(home / "mlflow" / "mlflow.db", tmp_path / "elsewhere.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/elsewhere.db")
    there = client(home)
    before = there.get_experiment_by_name(EXPERIMENT)
    assert before is not None
    there.rename_experiment(before.experiment_id, "another")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    reached, experiment = connect(home)
    assert reached.get_experiment(experiment).artifact_location == f"{home.resolve()}/mlflow/artifacts"
    reached.log_text(reached.create_run(experiment).info.run_id, "hello", "note.txt")
    assert list((tmp_path / "here").iterdir()) == []


@pytest.mark.parametrize("when", ["before it goes on", "before it ends"])
def test_a_run_that_somebody_has_deleted_is_told_anew_from_its_beginning(home: Path, work: Workdir, when: str) -> None:
    reached, experiment = connect(home)
    tracking = Tracking(home, "flow-1", "demo", every=0.05)
    tracked = begin(tracking, work)
    log_rows(work, 0, 5)
    first = tracking.finish(tracked, "KILLED", timeout=LIMIT) if when == "before it goes on" else None
    assert eventually(lambda: tracked.run_id is not None and len(steps_of(reached, tracked.run_id)) == 5)
    reached.delete_run(first or str(tracked.run_id))
    tracked = begin(tracking, work) if first else tracked
    log_rows(work, 5, 8)
    again = tracking.finish(tracked, "FINISHED", timeout=LIMIT)
    tracking.close("FINISHED", timeout=LIMIT)
    assert again is not None and steps_of(reached, again) == list(range(8))
    assert reached.get_run(again).info.status == "FINISHED"
    assert len(reached.search_runs([experiment], "tags.`fromzero.step` = 'pretrain'")) == 1


def test_artifacts_are_found_after_the_home_was_moved(home: Path, tmp_path: Path) -> None:
    old = client(home)
    experiment = old.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    run = old.create_run(experiment.experiment_id).info.run_id
    old.log_text(run, "hello", "note.txt")
    moved = home / "deeper" / "home"  # a path that begins with the old one
    shutil.move(home, tmp_path / "aside")
    moved.parent.mkdir(parents=True)
    shutil.move(tmp_path / "aside", moved)
    for _ in range(2):
        prepare(moved)
    new = client(moved)
    assert Path(new.download_artifacts(run, "note.txt")).read_text() == "hello"
    assert new.get_run(run).info.artifact_uri.startswith(f"{moved.resolve()}/mlflow/artifacts/")
    second = new.create_run(experiment.experiment_id)
    assert second.info.artifact_uri.startswith(f"{moved.resolve()}/mlflow/artifacts/")


def test_a_relocation_that_crashed_before_it_was_recorded_is_not_done_twice(home: Path) -> None:
    record = json.loads((home / "mlflow" / "prepared.json").read_text())
    moved = home / "inside"
    moved.mkdir()
    shutil.move(home / "mlflow", moved / "mlflow")
    prepare(moved)
    (moved / "mlflow" / "prepared.json").write_text(json.dumps(record))
    prepare(moved)
    found = client(moved).get_experiment_by_name(EXPERIMENT)
    assert found is not None and found.artifact_location == str(moved / "mlflow" / "artifacts")


def test_a_tracked_step_shows_params_tags_inputs_curve_and_end(tracking: Tracking, home: Path, work: Workdir) -> None:
    tracked = begin(tracking, work, model={"layers": 2}, peak_lr=0.1)
    log_rows(work, 0, 5)
    run_id = tracking.finish(tracked, "FINISHED", {"valid_loss": 3.5}, timeout=LIMIT)
    tracking.close("FINISHED", timeout=LIMIT)
    seen = runs(client(home))
    child, parent = seen["pretrain"], seen["demo"]
    assert run_id == child.info.run_id
    assert child.data.params == {"model.layers": "2", "peak_lr": "0.1"}
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.tags["fromzero.key"] == "k" * 64
    assert parent.data.tags["flow_run"] == "flow-1"
    (given,) = child.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest, given.dataset.profile) == ("tokens", "d" * 36, '{"tokens": 5}')
    assert steps_of(client(home), child.info.run_id) == [0, 1, 2, 3, 4]
    assert child.data.metrics["valid_loss"] == 3.5
    assert (child.info.status, parent.info.status) == ("FINISHED", "FINISHED")
    assert list((home / "mlflow" / "unsent").iterdir()) == []


def test_many_points_go_in_batches_with_their_own_times(tracking: Tracking, home: Path, work: Workdir) -> None:
    rows = [{"step": n, "time": 1e9 + n / 4, "loss": float(n), "note": "text"} for n in range(2500)]
    work.metrics_file.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"step": 2500, "ti')
    tracking.finish(begin(tracking, work), "FINISHED", timeout=LIMIT)
    run = runs(client(home))["pretrain"].info.run_id
    history = client(home).get_metric_history(run, "loss")
    assert [(m.step, m.timestamp) for m in history] == [(n, int((1e9 + n / 4) * 1000)) for n in range(2500)]


def test_a_retried_step_goes_on_in_the_same_run_without_its_repeated_steps(home: Path, work: Workdir) -> None:
    for flow, (start, stop), status in (("flow-1", (0, 8), "FAILED"), ("flow-2", (5, 12), "FINISHED")):
        tracking = Tracking(home, flow, flow, every=0.05)
        tracked = begin(tracking, work, lr=1)
        log_rows(work, start, stop)
        tracking.finish(tracked, status, timeout=LIMIT)
        tracking.close(status, timeout=LIMIT)
    seen = runs(client(home))
    assert sorted(seen) == ["flow-1", "flow-2", "pretrain"]
    assert steps_of(client(home), seen["pretrain"].info.run_id) == list(range(12))
    assert seen["pretrain"].info.status == "FINISHED"
    assert seen["flow-1"].info.status == "FAILED"


def test_a_metrics_file_that_a_resumed_trainer_rewrote_is_read_from_its_start(
    tracking: Tracking, home: Path, work: Workdir
) -> None:
    tracked = begin(tracking, work)
    log_rows(work, 0, 6)
    wait_until(lambda: reached(work).get("offset") == work.metrics_file.stat().st_size)
    work.metrics_file.write_text("")
    for step in range(3, 30):
        work.log_metrics({"loss": float(step)}, step)
    tracking.finish(tracked, "FINISHED", timeout=LIMIT)
    assert steps_of(client(home), runs(client(home))["pretrain"].info.run_id) == list(range(30))


def test_a_rewritten_file_is_read_from_its_start_also_where_a_row_of_it_ends_at_the_old_place(
    home: Path, work: Workdir
) -> None:
    connected, experiment = mlflow_sync.connect(home)
    tracking = Tracking(home, "flow-1", "demo", every=LIMIT)
    tracked = begin(tracking, work)
    rows = [{"step": n, "time": 1e9 + n, "loss": float(n)} for n in range(1, 9)]  # all of one length
    for written in (rows[:4], rows[2:8]):
        work.metrics_file.write_text("".join(json.dumps(row) + "\n" for row in written))
        mlflow_sync.deliver(connected, experiment, work.scratch, home / "mlflow")
    tracking.finish(tracked, "FINISHED", timeout=LIMIT)
    tracking.close("FINISHED", timeout=LIMIT)
    assert steps_of(client(home), runs(client(home))["pretrain"].info.run_id) == list(range(1, 9))


def test_points_sent_again_are_not_doubled(tracking: Tracking, home: Path, work: Workdir) -> None:
    tracked = begin(tracking, work)
    log_rows(work, 0, 50)
    wait_until(lambda: reached(work).get("offset", 0) > 0)
    tracking.finish(tracked, "FINISHED", timeout=LIMIT)
    known = json.loads((work.scratch / "mlflow.json").read_text())
    del known["metrics.jsonl"]  # as if killed between the send and the note of it
    (work.scratch / "mlflow.json").write_text(json.dumps(known))
    connected, experiment = mlflow_sync.connect(home)
    assert mlflow_sync.deliver(connected, experiment, work.scratch, home / "mlflow")
    assert steps_of(client(home), known["run"]) == list(range(50))


OWNER = """
import sys, time
from pathlib import Path
from tasks.core.workdir import Workdir
from tasks.core.tracking.tracking import Tracking
home, work = Path(sys.argv[1]), Workdir(Path(sys.argv[2]))
tracking = Tracking(home, "killed", "killed", every=0.01)
tracking.start("pretrain", "k" * 64, work.scratch, params={"a": 1}, tags={}, datasets={})
for step in range(int(sys.argv[3]), 100000):
    work.log_metrics({"loss": step / 3, "rate": 1.0}, step)
    time.sleep(0.005)
"""


def test_sigkill_in_the_middle_of_forwarding_loses_and_doubles_nothing(home: Path, work: Workdir) -> None:
    for _ in range(2):
        before = reached(work).get("last", {}).get("loss", 0)
        owner = subprocess.Popen(
            [sys.executable, "-c", OWNER, str(home), str(work.root), str(max(0, before - 20))], cwd=ROOT
        )
        wait_until(lambda limit=before: reached(work).get("last", {}).get("loss", 0) > limit + 50)
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    tracking = Tracking(home, "next", "next", every=0.05)
    tracking.finish(begin(tracking, work, a=1), "FINISHED", timeout=LIMIT)
    tracking.close("FINISHED", timeout=LIMIT)
    rows = [json.loads(line) for line in work.metrics_file.read_text().splitlines()]
    seen = runs(client(home))
    for key in ("loss", "rate"):
        assert steps_of(client(home), seen["pretrain"].info.run_id, key) == sorted({row["step"] for row in rows})
    assert len(seen) == 3, "the killed pipeline, the next one, and one pretraining"
    assert {run.info.status for run in seen.values()} == {"FINISHED", "KILLED"}
    assert seen["killed"].info.status == "KILLED"
    parent = seen["pretrain"].data.tags["mlflow.parentRunId"]
    assert parent == seen["next"].info.run_id, "what goes on belongs to the pipeline that goes on with it"
    assert list((home / "mlflow" / "unsent").iterdir()) == []


def test_the_runs_of_a_killed_pipeline_are_ended_by_one_that_makes_nothing(home: Path, work: Workdir) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(home), str(work.root), "0"], cwd=ROOT)
    wait_until(lambda: reached(work).get("offset", 0) > 0)
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    Tracking.end_lost(home, timeout=LIMIT)
    ended = {name: run.info.status for name, run in runs(client(home)).items()}
    assert ended == {"killed": "KILLED", "pretrain": "KILLED"}
    assert list((home / "mlflow" / "unsent").iterdir()) == []


def test_parts_of_one_artifact_are_counted_once() -> None:
    whole = Artifact("repeat_shard", "k", "d", {"tokens": 5}, "a-000")
    found = datasets_of((tuple(replace(whole, part_name=name, digest=name) for name in ("pass-2", "pass-3")),))
    assert found["repeat_shard"]["profile"] == {"artifacts": 1, "tokens": 5}


def test_shards_of_one_step_are_one_dataset_with_their_counts_added() -> None:
    shards = tuple(Artifact("tokenize_shard", "k", d, {"tokens": 5, "parts": {}}, f"a-{d}") for d in "12")
    found = datasets_of((shards, Artifact("train_tokenizer", "key", "digest"), None, {"name": "x"}))
    assert found["tokenize_shard"]["profile"] == {"artifacts": 2, "tokens": 10}
    assert found["train_tokenizer"] == {"digest": "digest", "uri": "train_tokenizer/key", "profile": {"artifacts": 1}}


def test_only_runs_whose_owner_is_gone_are_ended(home: Path) -> None:
    connected, experiment = mlflow_sync.connect(home)
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    host = os.uname().nodename
    tags = {"dead": f"{host}:{gone.pid}:1", "alive": mlflow_sync.owner(), "reused": f"{host}:{os.getpid()}:1"}
    tags |= {"elsewhere": f"another-host:{gone.pid}:1", "unknown": ""}
    for name, tag in tags.items():
        connected.create_run(experiment, tags={"fromzero.owner": tag}, run_name=name)
    assert mlflow_sync.end_stale_runs(connected, experiment) == 2
    ended = {name for name, run in runs(connected).items() if run.info.status == "KILLED"}
    assert ended == {"dead", "reused"}


def test_a_server_that_dies_in_the_middle_costs_one_warning_and_no_point(
    tmp_path: Path, work: Workdir, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with MlflowServer(tmp_path / "server") as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
        tracking = Tracking(tmp_path / "home", "flow", "flow", every=0.05)
        tracked = begin(tracking, work)
        log_rows(work, 0, 100)
        wait_until(lambda: reached(work).get("offset", 0) > 0)
        server.kill()
        with caplog.at_level(logging.WARNING, logger="tasks.core.tracking.tracking"):
            log_rows(work, 100, 200)
            wait_until(lambda: "tasks.core.tracking.tracking" in {record.name for record in caplog.records})
            work.system_file.write_text('{"step": 0, "time": 1.0, "system/cpu_utilization_percentage": 50.0}\n')
            (work.scratch / "plots").mkdir()
            (work.scratch / "plots" / "curve.png").write_bytes(b"a picture")
            assert tracking.finish(tracked, "FINISHED", timeout=0.2) is not None
            shutil.rmtree(work.root)
            tracking.close("FINISHED", timeout=0.2)
        assert len([record for record in caplog.records if record.name == "tasks.core.tracking.tracking"]) == 1
        server.start()
        later = Tracking(tmp_path / "home", "later", "later", every=0.05)
        assert later.parent(LIMIT) is not None
        wait_until(lambda: len(list((tmp_path / "home" / "mlflow" / "unsent").iterdir())) == 1)
        later.close("FINISHED", timeout=LIMIT)
        remote = MlflowClient(server.uri)
        seen = runs(remote)
        assert {name: run.info.status for name, run in seen.items()} == dict.fromkeys(
            ["flow", "later", "pretrain"], "FINISHED"
        )
        run = seen["pretrain"].info.run_id
        assert steps_of(remote, run) == list(range(200))
        assert steps_of(remote, run, "system/cpu_utilization_percentage") == [0]
        assert Path(remote.download_artifacts(run, "plots/curve.png")).read_bytes() == b"a picture"


def test_a_step_that_goes_on_is_not_ended_by_what_was_kept_of_its_failure(
    home: Path, work: Workdir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    down = Tracking(home, "down", "down", every=0.05)
    failing = begin(down, work)
    wait_until(lambda: down._failures > 0)
    down.finish(failing, "FAILED", timeout=0.05)
    down.close("FAILED", timeout=0.05)
    assert down._thread is not None
    down._thread.join(LIMIT)  # it must not find the other address
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    up = Tracking(home, "up", "up", every=0.05)
    tracked = begin(up, work)
    assert up.parent(LIMIT) is not None
    wait_until(lambda: tracked.run_id is not None)
    assert runs(client(home))["pretrain"].info.status == "RUNNING"
    up.finish(tracked, "FINISHED", timeout=LIMIT)
    up.close("FINISHED", timeout=LIMIT)
    assert runs(client(home))["pretrain"].info.status == "FINISHED"


def wait_until(condition: Any, seconds: float = LIMIT) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.02)
