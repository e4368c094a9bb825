"""A team's day over several machines: docs/several-machines.md, as its people go through it.

Postgres, a bucket, the servers of `up`, two machines that lend processor cores and one that lends a (pretended) GPU: a
scheduled run loses the GPU machine in training, goes on at another, is cancelled in Prefect's page, goes on with the
next scheduled run, is approved by a person in the form, and promoted. FROMZERO_PICTURES names a folder for pictures.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.core.services import access, prefect_api
from tasks.core.store.open import open_store
from tests.browser import opened
from tests.integration.test_walk import OPTIONS, Up, approve
from tests.pipeline_process import ROOT, House, copied, empty, eventually, finished
from tests.ports import free_ports
from tests.postgres_server import PostgresServer
from tests.s3_server import S3Server
from tests.screenshots import SETTLED, Shot, take
from tests.tasks.core.engine.places.test_pool import Worker

CPU, GPU = "fromzero-cpu", "fromzero-gpu"
"""The pools of conf/engine/cluster_k8s.yaml."""
STEPS = 800
"""Of pretraining: long enough to be disturbed twice."""
TRAINING = (f"pretrain.segments.main.tokens={2048 * STEPS}", "pretrain.run.checkpoint_steps=20")
CARRIED = ("clean_shard", "tokenize_shard")
HERE = ("engine.places.rest=local", *(f"engine.places.{step}='pool:{CPU}'" for step in CARRIED))
"""Of the steps without a GPU only two go to the workers: each body there costs seconds."""
LIMIT = 1200.0
"""Seconds that anything may take to come."""
PICTURES = os.environ.get("FROMZERO_PICTURES")


class Machines:
    """The team's machine, on which `up` runs, and those that lend themselves to it."""

    def __init__(self, house: House, store: dict[str, Any], postgres: PostgresServer) -> None:
        self.up, self.database = Up(house), postgres.of_a_home()
        self.pages = self.up.api.removesuffix("/api")
        self.store, self.workers = store, list[Worker]()

    @property
    def in_the_bucket(self) -> tuple[str, ...]:
        """What a run is told of the store."""
        return ("store=s3", *(f"store.{name}={self.store[name]}" for name in ("bucket", "endpoint")))

    def deploy(self) -> None:
        """A schedule of every minute, whose steps run on the workers and whose artifacts are in the bucket."""
        house = self.up.house
        file = house.folder / "often.yaml"
        words = ["engine=cluster_k8s", *HERE, *self.in_the_bucket, "approval.by=human", *OPTIONS, *TRAINING]
        schedule = {"kind": "cron", "cron": "* * * * *"}
        about = {"recipe": str(house.recipe), "overrides": words, "schedule": schedule, "when_running": "skip"}
        file.write_text(json.dumps(about))
        assert "+ tiny/often: new" in house.say("deploy", str(file)).out

    def lend(self, name: str, pool: str, limit: int = 3, **env: str) -> Worker:
        """`fromzero up --pool POOL` on one more machine, with what `fromzero login --env` prints on the team's."""
        said = self.up.house.say("login", "--env").out
        known = dict(re.findall(r"export (\w+)='?([^'\n]*)", said))
        given = {word: known[word] for word in ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING")}
        store = {"FROMZERO_STORE": json.dumps(self.store)}
        worker = Worker(self.up.house.folder / name, pool, {**given, **store, **env}, limit)
        self.workers.append(worker)
        assert eventually(lambda: "serves the work pool" in worker.said), worker.said
        return worker

    def run(self, *known: str, state: str = "") -> dict[str, Any]:
        """The first run of the deployment that has begun (or is in that state), other than those known: on a slow
        machine the next one may wait beside it, with nothing left to train."""
        chosen = {"flow_runs": {"deployment_id": {"is_null_": False}}, "flows": {"name": {"any_": ["tiny"]}}}

        def found() -> list[dict[str, Any]]:
            runs = prefect_api.ask(self.up.api, "flow_runs/filter", {**chosen, "sort": "START_TIME_ASC"})
            fit = [run for run in runs if run["start_time"] and run["id"] not in known]
            return [run for run in fit if state in ("", run["state_name"])]

        return dict(self.until(found)[0])

    def trained(self, run: dict[str, Any]) -> int:
        """How far training is, as the run's log tells."""
        return max([0, *map(int, re.findall(rf"step (\d+)/{STEPS}", self.logged(run)))])

    def logged(self, run: dict[str, Any]) -> str:
        """What training has printed in a run."""
        folder = next((self.up.house.home / "logs").glob(f"*{run['id'][-8:]}*"), None)
        file = folder / "pretrain.log" if folder else None
        return file.read_text() if file and file.exists() else ""

    def until(self, condition: Callable[[], Any]) -> Any:
        """Wait for something that is true at last, and give it; what everybody said, if it does not come."""
        deadline = time.monotonic() + LIMIT
        while not (found := condition()):
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.5)
        return found

    def stop(self) -> None:
        """All machines but the team's go."""
        for worker in self.workers:
            worker.kill()

    def said(self) -> str:
        """The ends of all logs."""
        files = [self.up.house.home / "logs/services/worker.log", *(worker.home / "said" for worker in self.workers)]
        return "\n".join(f"== {file}\n{file.read_text()[-2500:]}" for file in files if file.exists())


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> Iterator[Machines]:
    """A team whose servers are up, and whose bucket is empty."""
    folder = tmp_path_factory.mktemp("team")
    house = replace(empty(finished(tmp_path_factory), folder), tree=ROOT)
    with S3Server(tmp_path_factory.mktemp("s3")) as server, pytest.MonkeyPatch.context() as patch:
        server.make_bucket("models")
        for name, value in {**server.env, **postgres.env}.items():
            patch.setenv(name, value)
        found = Machines(house, {"kind": "s3", "bucket": "models", "endpoint": server.endpoint}, postgres)
        house.say("up", "--postgres", found.database, *found.up.words)
        try:
            yield found
        finally:
            found.stop()
            house.start("down").wait(None)


def picture(machines: Machines, name: str, url: str, awaits: str, **about: Any) -> None:
    """A page as its reader sees it, if pictures are wanted."""
    if PICTURES:
        with opened() as page:
            page.add_init_script(SETTLED)
            page.goto(access.link(machines.up.house.home, machines.pages))
            shot = Shot(name, url, awaits, **about)
            (Path(PICTURES) / f"{name}.png").write_bytes(take(page, shot))


def cancel(machines: Machines, run: dict[str, Any]) -> None:
    """*Cancel* on the run's page."""
    with opened() as page:
        page.goto(access.link(machines.up.house.home, machines.pages))
        page.get_by_text("Dashboard").first.wait_for()
        page.goto(f"{machines.pages}/runs/flow-run/{run['id']}")
        page.get_by_text(run["name"]).first.wait_for()
        page.get_by_role("button", name="Cancel").first.click()
        page.get_by_role("button", name="Confirm").click()
        page.get_by_text("Cancel Flow Run").first.wait_for(state="hidden")


def test_a_day_of_a_team_whose_steps_run_on_other_machines(
    machines: Machines,
    postgres: PostgresServer,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    up = machines.up
    for number in (1, 2):
        machines.lend(f"cpu-{number}", CPU)
    gpu = machines.lend("gpu-1", GPU, FROMZERO_FAKE_DEVICES="1")
    machines.deploy()

    first = machines.run()
    machines.until(lambda: machines.trained(first) > 60)
    picture(
        machines,
        "machines-run",
        f"{machines.pages}/runs/flow-run/{first['id']}",
        first["name"],
        clicks=("Subflow Runs",),
    )
    picture(machines, "machines-pools", f"{machines.pages}/work-pools", GPU)
    gpu.kill()
    elsewhere = machines.lend("gpu-2", GPU, FROMZERO_FAKE_DEVICES="1")
    machines.until(lambda: "resuming from the checkpoint of step" in machines.logged(first))
    reached = machines.trained(first)
    machines.until(lambda: machines.trained(first) > reached)

    cancel(machines, first)
    machines.until(lambda: not elsewhere.carriers())
    machines.run(state="Cancelled")
    assert machines.trained(first) < STEPS and "saved" in machines.logged(first)

    second = machines.run(first["id"], state="Waiting")
    assert "resuming from the checkpoint of step" in machines.logged(second)
    assert f"step 1/{STEPS}" not in machines.logged(second)
    approve(up, second, 1, Path(PICTURES) / "machines-approval.png" if PICTURES else None)
    assert eventually(lambda: up.champion() == 1)
    models = f"http://127.0.0.1:{up.ports['mlflow_port']}/#/models/tiny-base"
    picture(machines, "machines-champion", models, "champion", height=600, settle=5)

    alone = copied(finished(tmp_path_factory), tmp_path / "undisturbed")
    alone.run(*OPTIONS, *TRAINING, "--until", "pretrain")
    monkeypatch.setenv("FROMZERO_STORE", json.dumps(machines.store))
    (manifest,) = open_store().manifests("pretrain")
    assert manifest.digest in {found["digest"] for found in alone.manifests("pretrain")}
    assert not list(open_store().backend.names("_work/"))
    logged = "SELECT count(*), count(DISTINCT step) FROM metrics WHERE key = 'loss'"
    assert postgres.execute(logged, f"{machines.database.rpartition('/')[2]}_mlflow") == [(STEPS, STEPS)]


def test_a_training_on_two_machines_of_a_pool_gets_another_for_a_lost_one_and_ends_as_on_one_machine(
    machines: Machines, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    house = machines.up.house
    two, most = [machines.lend(f"node-{number}", "several", 1) for number in (1, 2)], 2048 * 600
    words = ["--until", "pretrain", f"pretrain.segments.main.tokens={most}", "pretrain.run.checkpoint_steps=20"]
    together = ["engine.places.pretrain='pool:several'", f"pretrain.run.rendezvous=127.0.0.1:{free_ports(1)[0]}"]
    run = house.begin(*machines.in_the_bucket, *words, *together, "pretrain.run.nodes=2")
    run.until(lambda: re.search(r"pretrain: step 1\d\d/", run.said))
    next(worker for worker in two if any("joining" in " ".join(body.cmdline()) for body in worker.bodies())).kill()
    machines.lend("node-3", "several", 1)
    found = run.wait()
    assert "starting all again from the checkpoint of step" in run.said or "resuming from" in run.said
    alone = copied(finished(tmp_path_factory), tmp_path / "undisturbed")
    whole = alone.run(*words, "pretrain.run.processes=2")
    assert found.step("pretrain")["digest"] == whole.step("pretrain")["digest"]
    assert found.step("pretrain")["attempts"] == 1
    assert eventually(lambda: not any(worker.carriers() for worker in machines.workers))


def test_down_ends_what_is_left_of_bodies_whose_run_and_worker_are_gone(machines: Machines) -> None:
    house = machines.up.house
    machines.stop()
    house.say("down")
    assert eventually(lambda: house.processes() == []), house.processes()
