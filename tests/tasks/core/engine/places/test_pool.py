"""Steps on other machines: workers of a Prefect pool, each with a home of its own, that share only the store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from tasks.core.engine.channel import Channel
from tasks.core.engine.places import pool
from tasks.core.errors import ChildKilled
from tasks.core.services import prefect_api
from tasks.core.store.open import open_store
from tests.s3_server import S3Server
from tests.toy_process import ROOT, Toy, eventually

TEXTS = ("a=hello", "b=world")


@dataclass
class Worker:
    """`fromzero up --pool NAME`, as on a machine of its own."""

    home: Path
    pool: str
    env: dict[str, str] = field(default_factory=dict)
    limit: int = 3
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.home.mkdir()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli.main", "up", "--pool", self.pool, "--limit", str(self.limit)],
            cwd=ROOT,
            env={**os.environ, **self.env, "FROMZERO_HOME": str(self.home)},
            stdout=(self.home / "said").open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def said(self) -> str:
        return (self.home / "said").read_text()

    def carriers(self) -> list[psutil.Process]:
        """What it carries out just now: the flow runs' processes."""
        try:
            return [p for child in psutil.Process(self.process.pid).children() for p in child.children()]
        except psutil.NoSuchProcess:
            return []

    def bodies(self) -> list[psutil.Process]:
        """All processes below those."""
        return [process for carrier in self.carriers() for process in carrier.children(recursive=True)]

    def kill(self) -> None:
        """As when the machine goes: everything at once."""
        left = psutil.Process(self.process.pid).children(recursive=True) if self.process.poll() is None else []
        for process in [self.process, *left]:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.wait()


@dataclass
class Cluster:
    """A server, a store, and two workers of a pool."""

    url: str
    folder: Path
    pool: str = field(default_factory=lambda: f"steps-{uuid.uuid4().hex[:6]}")
    workers: list[Worker] = field(default_factory=list)

    def work(self, count: int = 1) -> list[Worker]:
        """Workers that are there."""
        self.workers += [Worker(self.folder / f"worker-{n}", self.pool) for n in range(count)]
        assert eventually(lambda: all("serves the work pool" in worker.said for worker in self.workers))
        return self.workers

    def run(self, *texts: str, pause: float = 0.0, **env: str) -> Toy:
        places = {"TOY_PLACES": json.dumps({"train": f"pool:{self.pool}"})}
        return Toy(self.folder / "home", self.url, *(texts or TEXTS), pause=pause, **{**places, **env})

    def carried(self) -> list[dict[str, Any]]:
        """The runs of the pool's flow in Prefect."""
        chosen = {"work_pools": {"name": {"any_": [self.pool]}}, "limit": 100}
        return list(prefect_api.ask(self.url, "flow_runs/filter", chosen))


@pytest.fixture
def cluster(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    prefect_url: str,
    prefect_home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Cluster]:
    store: dict[str, Any] = {"kind": "local", "path": str(tmp_path / "shared")}
    if getattr(request, "param", "") == "s3":
        server: S3Server = request.getfixturevalue("s3_server")
        store = {"kind": "s3", "bucket": "tests", "prefix": uuid.uuid4().hex, "endpoint": server.endpoint}
    monkeypatch.setenv("FROMZERO_STORE", json.dumps(store))
    monkeypatch.setenv("PREFECT_API_URL", prefect_url)
    found = Cluster(prefect_url, tmp_path)
    yield found
    for worker in found.workers:
        worker.kill()


def model() -> str:
    """What the trained model says."""
    (manifest,) = open_store().manifests("train")
    return (open_store().local(manifest) / "content/model.txt").read_text()


@pytest.mark.parametrize("cluster", ["s3"], indirect=True)
def test_a_lost_worker_s_body_goes_on_with_another_worker(cluster: Cluster) -> None:
    cluster.work(2)
    run = cluster.run(pause=0.4)
    run.until(lambda: "train: step 14/" in run.log.read_text())  # the checkpoint is in the bucket by then
    next(worker for worker in cluster.workers if worker.carriers()).kill()
    found = run.wait()
    assert found["state"] == "completed" and model() == "one\nHELLO\nWORLD20"
    assert [outcome["attempts"] for outcome in found["outcomes"] if outcome["step"] == "train"] == [2]
    assert run.log.read_text().count("train: step 1/20") == 1, "it went on from its checkpoint"
    lost, done = sorted(cluster.carried(), key=lambda carried: str(carried["start_time"]))
    assert (lost["state"]["type"], done["state"]["type"]) == ("CRASHED", "COMPLETED")
    assert lost["parent_task_run_id"] == done["parent_task_run_id"] is not None
    assert not list(open_store().backend.names("_work/"))


def test_a_worker_that_is_told_to_stop_saves_and_the_step_is_placed_again(cluster: Cluster) -> None:
    cluster.work(2)
    run = cluster.run(pause=0.4)
    run.until(lambda: "train: step 4/" in run.log.read_text())
    leaving = next(worker for worker in cluster.workers if worker.carriers())
    leaving.process.send_signal(signal.SIGTERM)
    found = run.wait()
    assert leaving.process.wait(60) == 0 and "what was under way is saved" in leaving.said
    assert found["state"] == "completed" and model() == "one\nHELLO\nWORLD20"
    assert run.log.read_text().count("train: step 1/20") == 1, "it went on from its checkpoint"
    assert "was told to stop" in run.log.read_text()


def test_no_body_outlives_its_run_and_an_interrupted_one_saves_and_leaves(cluster: Cluster) -> None:
    (worker,) = cluster.work()
    killed = cluster.run(pause=0.8)
    killed.until(lambda: "train: step 2/" in killed.log.read_text())
    killed.kill()  # its body is ended some seconds later: so far the next run waits
    again = cluster.run(pause=0.8)
    again.until(lambda: "train: step " in again.log.read_text())
    assert "train: step 1/" not in again.log.read_text(), "it went on from its checkpoint"
    again.process.send_signal(signal.SIGINT)
    assert again.process.wait(60) == 130
    assert eventually(lambda: not worker.carriers())
    found = cluster.run().wait()
    assert found["state"] == "completed" and model() == "one\nHELLO\nWORLD20"
    assert not list(open_store().backend.names("_work/"))


def test_what_a_worker_took_and_never_began_is_given_to_another(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "UNSEEN", 0.3)
    monkeypatch.setattr(pool, "LOOK_EVERY", 0.0)
    (lost,) = cluster.work()
    lost.kill()
    deployment = prefect_api.ask(cluster.url, f"deployments/name/{pool.FLOW}/{cluster.pool}")["id"]
    taken = {"type": "PENDING", "name": "Submitting"}  # as a worker does that then goes

    def created(number: int = 0) -> str:
        asked = {"state": {"type": "SCHEDULED"}, "parameters": {"artifact": "train/key", "ticket": "t", "node": number}}
        run = prefect_api.ask(cluster.url, f"deployments/{deployment}/create_flow_run", asked)
        prefect_api.ask(cluster.url, f"flow_runs/{run['id']}/set_state", {"state": taken, "force": True})
        return str(run["id"])

    others = pool.Others(cluster.url, Channel(open_store().backend, "train/key", "ticket"), 1, created)
    carrying = pool.Carrying(cluster.url, created(), cluster.pool, True, others)
    assert carrying.gone() is None
    carrying.tend()
    assert len(cluster.carried()) == 2
    time.sleep(0.4)
    carrying.tend()
    assert len(cluster.carried()) == 3, "another machine is to take part"
    assert isinstance(carrying.gone(), ChildKilled)
    carrying.withdraw(dead=False)
    states = sorted(carried["state"]["type"] for carried in cluster.carried())
    assert states == ["CANCELLED", "CRASHED", "CRASHED"], "the third is not needed any more"


def test_a_pool_that_nobody_serves_is_refused_before_the_run(cluster: Cluster) -> None:
    from conf.schema.engine import EngineConf
    from tasks.core.engine.placing import Placing
    from tasks.core.errors import HostError
    from tests import toy

    placing = Placing(EngineConf(places={"rest": f"pool:{cluster.pool}"}))
    with pytest.raises(HostError, match=rf"work pool {cluster.pool}, which nobody serves: `fromzero up --pool"):
        placing.check([(toy.make, "make")])
