"""Servers, keeper, worker and setup, really killed, and ports that are taken: what the command says and leaves."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from mlflow import MlflowClient

from tasks.core import liveness
from tasks.core.services import prefect_api, servers
from tasks.core.tracking.mlflow_db import EXPERIMENT
from tests import one_secret
from tests.chaos.disturb import many
from tests.chaos.test_helpers import states
from tests.chaos.test_pipeline import STEPS, WORKER, let_go, logged, pretraining
from tests.chaos.test_pipeline import draw as draw
from tests.integration.test_errors_data import house as house_of
from tests.integration.test_errors_data import refused
from tests.integration.test_walk import Up, closed
from tests.mlflow_server import MlflowServer
from tests.pipeline_process import (
    ROOT,
    WITHOUT_TUNING,
    House,
    copied,
    eventually,
    finished,
    write_texts,
)
from tests.ports import free_ports
from tests.toy_process import Toy


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A copy of the finished house whose services run; whatever happens, nothing of it stays up."""
    found = Up(copied(finished(tmp_path_factory), tmp_path_factory.mktemp("up")))
    found.house.say("up", *found.words)
    yield found
    found.house.start("down").wait(None)


class Deployed:
    """A deployment of the recipe as far as pretraining, without a schedule: run as by the button in Prefect."""

    def __init__(self, up: Up) -> None:
        self.up = up
        file = up.house.folder / "button.yaml"
        file.write_text(json.dumps({"recipe": str(up.house.recipe), "until": "pretrain"}))
        up.house.say("deploy", str(file))
        chosen = {"deployments": {"name": {"any_": ["button"]}}}
        (self.id,) = [found["id"] for found in prefect_api.ask(up.api, "deployments/filter", chosen)]

    def run(self, **about: Any) -> str:
        """Ask for a run; its id."""
        return str(prefect_api.ask(self.up.api, f"deployments/{self.id}/create_flow_run", about)["id"])

    def until(self, run: str) -> Callable[[Callable[[], Any]], None]:
        """Waits for something to become true while a run is under way."""

        def wait(condition: Callable[[], Any]) -> None:
            assert eventually(condition), self.state(run)

        return wait

    def state(self, run: str) -> str:
        """What Prefect's page says of a run."""
        (found,) = prefect_api.ask(self.up.api, "flow_runs/filter", {"flow_runs": {"id": {"any_": [run]}}})
        return str(found["state_name"])


@pytest.fixture(scope="module")
def deployed(up: Up) -> Deployed:
    return Deployed(up)


def test_a_killed_run_on_the_worker_is_crashed_in_prefect_and_the_next_one_goes_on(
    up: Up, deployed: Deployed, draw: random.Random
) -> None:
    house = up.house
    digest = house.digest("pretrain")
    house.forget("pretrain")
    run = deployed.run()
    trainer = pretraining(house, draw, deployed.until(run))
    (living,) = liveness.living(house.home)
    assert living["run"] == run
    os.kill(living["pid"], signal.SIGKILL)
    let_go(trainer)
    assert eventually(lambda: not house.processes(*WORKER)), "the trainer outlived its run"
    assert eventually(lambda: deployed.state(run) == "Crashed"), deployed.state(run)
    assert house.manifests("pretrain") == []

    again = deployed.run()
    assert eventually(lambda: deployed.state(again) in ("Completed", "Failed", "Crashed")), deployed.state(again)
    assert deployed.state(again) == "Completed"
    assert "resuming from the checkpoint of step" in logged(house, "pretrain")
    assert house.digest("pretrain") == digest
    assert liveness.dead(house.home) == [], "nothing is said to be dead for ever"


def keeper(house: House) -> int:
    """The process id of the keeper that lives; 0 if none does."""
    found = servers.running(house.home)
    return int(found["pid"]) if found else 0


def test_a_killed_keeper_is_started_again_by_the_run_under_way_else_status_misses_it_until_up(
    up: Up, deployed: Deployed, draw: random.Random
) -> None:
    house = up.house
    house.forget("pretrain")
    run = deployed.run()
    trainer = pretraining(house, draw, deployed.until(run))
    taken = deployed.run(state={"type": "PENDING", "name": "Pending"})
    first = keeper(house)
    os.kill(first, signal.SIGKILL)
    assert eventually(lambda: keeper(house) not in (0, first) and servers.answers(up.api))
    let_go(trainer)
    assert eventually(lambda: deployed.state(run) == "Completed"), deployed.state(run)
    assert eventually(lambda: deployed.state(taken) == "Crashed"), "the worker that had taken it is gone"
    assert eventually(lambda: not liveness.living(house.home))
    assert eventually(lambda: {about["state"] for about in up.status()["services"].values()} == {"healthy"})

    os.kill(keeper(house), signal.SIGKILL)
    assert eventually(lambda: house.processes("tasks.core.services.supervised") == []), "a service outlived its keeper"
    assert eventually(lambda: all(closed(port) for port in up.ports.values()))
    said = house.say("status", code=1).out
    assert "DOWN, though they were asked for: `fromzero up` starts them" in said

    house.say("up", *up.words)
    assert {about["state"] for about in up.status()["services"].values()} == {"healthy"}
    assert "down: nothing is left running" in house.say("down").out
    assert eventually(lambda: house.processes() == []), house.processes()
    assert all(closed(port) for port in up.ports.values())
    assert "stopped!" in (house.home / "logs/services/worker.log").read_text(), "the worker left when it was asked to"
    assert not up.status()["up"]


@pytest.fixture(scope="module")
def light(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A home in which nothing is made; a test that needs its services says `up`."""
    found = Up(many(tmp_path_factory.mktemp("light")))
    yield found
    found.house.start("down").wait(None)


def nothing_left(up: Up) -> None:
    """No process of the home, no port, no wish and no record of a keeper."""
    assert eventually(lambda: up.house.processes() == []), up.house.processes()
    assert all(closed(port) for port in up.ports.values())
    left = [name for name in ("up.json", "server.json") if (servers.folder(up.house.home) / name).exists()]
    assert left == []


def test_down_after_keeper_and_guards_were_killed_ends_what_they_left_and_up_may_follow_a_kill_at_once(
    light: Up,
) -> None:
    house = light.house
    house.say("up", *light.words)
    services = servers.running(house.home)["services"]  # type: ignore[index]
    os.kill(keeper(house), signal.SIGSTOP)  # else it starts again what it sees die
    for about in services.values():
        os.kill(about["pid"], signal.SIGKILL)
    os.kill(keeper(house), signal.SIGKILL)
    assert eventually(lambda: not keeper(house))
    assert house.processes("uvicorn"), "servers that nobody keeps"
    assert "down: what was up had died; nothing is left running" in house.say("down").out
    nothing_left(light)
    assert "nothing was up" in house.say("down").out

    house.say("up", *light.words)
    os.kill(keeper(house), signal.SIGKILL)
    house.say("up", *light.words)
    assert {about["state"] for about in light.status()["services"].values()} == {"healthy"}
    assert "down: nothing is left running" in house.say("down").out
    nothing_left(light)


def test_down_at_once_after_the_keeper_was_killed_lets_the_run_under_way_save_and_leave(light: Up) -> None:
    house = light.house
    house.say("up", *light.words)
    toy = Toy(house.home, "", "a=hello", TOY_STAY_AT="3")
    toy.until(lambda: list((house.home / "store/_work/train").glob("*/scratch/progress")))
    (about,) = liveness.living(house.home)
    os.kill(keeper(house), signal.SIGKILL)
    said = house.say("down").out
    assert f"{about['name']}: asked to save and stop" in said and "down: nothing is left running" in said
    assert toy.process.wait(600) == 130
    nothing_left(light)
    assert states(house.home) == {"Cancelled": Counter({"Completed": 3, "Cancelled": 1})}


TRACKED = """
import sys, time
from pathlib import Path
from tasks.core.workdir import Workdir
from tasks.core.tracking.tracking import Tracking
home, points = Path(sys.argv[1]), int(sys.argv[2])
work = Workdir(home / "tracked")
work.make()
tracking = Tracking(home, "one", "one", every=0.1)
run = tracking.start("pretrain", "key", work.scratch, params={}, tags={}, datasets={})
for step in range(points):
    if step == points // 2:
        while None in (tracking.parent(), run.run_id):
            time.sleep(0.1)
        print(tracking.parent(), run.run_id, flush=True)
        sys.stdin.readline()
    work.log_metrics({"loss": 1.0 / (step + 1)}, step)
tracking.finish(run, "FINISHED")
tracking.close("FINISHED")
"""
"""What a step that trains tells MLflow; half way it waits for a line."""


def test_an_mlflow_of_up_that_is_killed_while_a_run_trains_is_started_again_and_has_every_point(
    light: Up, monkeypatch: pytest.MonkeyPatch
) -> None:
    house, points = light.house, 40
    house.say("up", *light.words)
    command = [sys.executable, "-c", TRACKED, str(house.home), str(points)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    run = subprocess.Popen(command, cwd=house.tree, env=house.env(), **pipes)  # type: ignore[call-overload]
    parent, tracked = run.stdout.readline().split()
    (first,) = psutil.Process(light.status()["services"]["mlflow"]["pid"]).children()
    first.kill()
    out, _ = run.communicate("go on\n", timeout=600)
    assert run.returncode == 0, out

    def mlflow() -> dict[str, Any]:
        return dict(light.status()["services"]["mlflow"])

    assert eventually(lambda: mlflow()["restarts"] == 1 and mlflow()["state"] == "healthy"), mlflow()
    one_secret.show_mlflow(monkeypatch)
    client = MlflowClient(f"http://127.0.0.1:{light.ports['mlflow_port']}")
    assert [client.get_run(found).info.status for found in (parent, tracked)] == ["FINISHED", "FINISHED"]
    assert [point.step for point in client.get_metric_history(tracked, "loss")] == list(range(points))


@pytest.fixture
def bare(tmp_path: Path) -> House:
    """An empty home; no server is given."""
    (tmp_path / "texts").mkdir()
    write_texts(tmp_path / "texts" / "a.jsonl", seed=1)
    made = house_of(tmp_path, "", {"mine": {"paths": [str(tmp_path / "texts")]}})
    return House(made.folder, made.home, ROOT, made.recipe, made.texts, None)


@pytest.fixture
def prepared(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> House:
    """A home whose databases are there."""
    return copied(finished(tmp_path_factory), tmp_path)


@pytest.mark.parametrize("option", ["prefect_port", "mlflow_port"])
def test_a_port_in_use_is_refused_by_up_with_its_owner_and_the_mend_and_nothing_is_left(
    prepared: House, option: str
) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        ports = {**dict(zip(("prefect_port", "mlflow_port"), free_ports(2), strict=True)), option: port}
        found = prepared.start("up", *(f"{name}={value}" for name, value in ports.items())).wait(None)
    fix = f"`fromzero up {option}={port + 100}`"
    refused(found, f"port {port} of 127.0.0.1", f"process id {os.getpid()}", "end what uses it", fix, code=1)
    assert prepared.processes() == []
    assert not json.loads(prepared.say("status", "--json").out)["up"]


def test_a_killed_setup_harms_nothing_and_the_next_one_ends_it(bare: House, draw: random.Random) -> None:
    files = ["prefect/prefect.db", "mlflow/mlflow.db"]
    watched, size = bare.home / draw.choice(files), draw.randrange(0, 400_000)
    print(f"waiting for {size} bytes in {watched}")
    killed = bare.start("setup")
    killed.until(lambda: watched.exists() and watched.stat().st_size >= size)
    for pid in [killed.process.pid] if draw.random() < 0.5 else bare.processes():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    killed.wait(code=-signal.SIGKILL)
    assert f"ready: {bare.home}" in bare.say("setup").out
    assert eventually(lambda: bare.processes() == []), "a migration outlived its setup"
    assert not json.loads(bare.say("status", "--json").out)["up"]
    assert len(bare.plan("--until", "fetch_shard").to("run")) == 1


def test_an_mlflow_that_dies_while_a_model_trains_loses_nothing_and_the_same_command_goes_on(
    tmp_path_factory: pytest.TempPathFactory, prefect_url: str, tmp_path: Path, draw: random.Random
) -> None:
    house = copied(finished(tmp_path_factory, prefect_url), tmp_path)
    digest = house.digest("pretrain")
    house.forget("pretrain")
    with MlflowServer(tmp_path / "mlflow") as mlflow:
        environ = {"MLFLOW_TRACKING_URI": mlflow.uri}
        run = house.begin(*WITHOUT_TUNING, env=environ)
        trainer = pretraining(house, draw, run.until)
        mlflow.kill()
        let_go(trainer)
        refused(run.wait(None), f"MLflow at {mlflow.uri} does not answer", "start it", "MLFLOW_TRACKING_URI", code=1)
        assert house.digest("pretrain") == digest, "training needs no MLflow"

        mlflow.start()
        again = house.run(*WITHOUT_TUNING, env=environ)
        assert again.made() == {"register_model", "promote_model"}
        client = MlflowClient(mlflow.uri)
        seen = client.search_runs([client.get_experiment_by_name(EXPERIMENT).experiment_id])
        assert {run.info.status for run in seen} == {"FINISHED", "FAILED"}
        (trained,) = [run for run in seen if run.info.run_name == "pretrain"]
        points = [point.step for point in client.get_metric_history(trained.info.run_id, "loss")]
        assert points == list(range(1, STEPS + 1)), "each step is there, and once"
