"""What is wrong with the machine, its servers or its databases: a clear word, quickly, and nothing is harmed."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tasks.core.artifact import sha256
from tests.integration.test_errors_data import house, refused
from tests.pipeline_process import ROOT, House, write_texts
from tests.tasks.core.cutting_proxy import CuttingProxy

DEAD = "http://127.0.0.1:9"
HIDE = """
import importlib.metadata, sys
hidden = {names!r}
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
known = importlib.metadata.version
def version(name):
    if name in hidden:
        raise importlib.metadata.PackageNotFoundError(name)
    return known(name)
importlib.metadata.version = version
"""
"""A sitecustomize under which packages are not installed."""


@pytest.fixture
def mine(tmp_path: Path, prefect_url: str) -> House:
    """An empty home with one good source."""
    (tmp_path / "texts").mkdir()
    write_texts(tmp_path / "texts" / "a.jsonl", seed=1)
    return house(tmp_path, prefect_url, {"mine": {"paths": [str(tmp_path / "texts")]}})


def alone(found: House) -> House:
    """The same, each run with a Prefect server of its own."""
    return House(found.folder, found.home, found.tree, found.recipe, found.texts, None)


def with_site(mine: House, text: str) -> dict[str, str]:
    """An environment whose interpreters run this text first."""
    (mine.folder / "site").mkdir()
    (mine.folder / "site" / "sitecustomize.py").write_text(text)
    return {"PYTHONPATH": f"{mine.folder / 'site'}{os.pathsep}{ROOT}"}


@pytest.mark.parametrize("name", ["PREFECT_API_URL", "MLFLOW_TRACKING_URI"])
def test_a_server_that_is_down_at_the_start_is_named_by_its_variable(mine: House, name: str) -> None:
    address = f"{DEAD}/api" if name == "PREFECT_API_URL" else DEAD
    found = mine.begin(env={name: address}).wait(None)
    refused(found, name, address, "start it", f"unset {name}", code=1)
    assert not (mine.home / "store").exists()


def test_a_prefect_that_dies_in_the_middle_ends_the_run_with_a_word_and_the_next_run_goes_on(mine: House) -> None:
    assert mine.url is not None
    with CuttingProxy(int(mine.url.rpartition(":")[2].removesuffix("/api")), renames=True) as proxy:
        # a busy server is asked again, or the run would end of that; and there is much to do after the first step
        hasty = {"PREFECT_API_URL": f"{proxy.endpoint}/api", "PREFECT_CLIENT_MAX_RETRIES": "3"}
        run = mine.begin("--until", "clean_shard", env=hasty)
        run.until(run.begun("fetch_shard[mine-000]"))
        proxy.cut_answers(10**9, 0)
        found = run.wait(None)
    refused(found, "PREFECT_API_URL", proxy.endpoint, code=1)
    mine.run("--until", "fetch_shard")
    mine.whole()


def schema(file: Path) -> None:
    """A SQLite database whose Alembic revision no installed version knows."""
    file.parent.mkdir(parents=True)
    with closing(sqlite3.connect(file)) as base:
        base.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        base.execute("INSERT INTO alembic_version VALUES ('ffffffffffff')")
        base.commit()


@pytest.mark.parametrize("owner", ["Prefect", "MLflow"])
def test_a_database_of_another_version_is_refused_and_left_as_it_is(mine: House, owner: str) -> None:
    file = mine.home / owner.lower() / f"{owner.lower()}.db"
    schema(file)
    before = hashlib.sha256(file.read_bytes()).hexdigest()
    found = (alone(mine) if owner == "Prefect" else mine).begin().wait(None)
    refused(found, f"{owner}'s database {file}", "another version", "ffffffffffff", "move the file away", code=1)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == before


def test_a_living_server_of_another_version_is_named_and_a_dead_one_passed_over(mine: House) -> None:
    folder = mine.home / "prefect"
    folder.mkdir(parents=True)
    (folder / "server.json").write_text(json.dumps({"url": f"{DEAD}/api", "pid": os.getpid(), "version": "2.0.0"}))
    with (folder / "keeper.lock").open("ab") as keeper:
        fcntl.flock(keeper, fcntl.LOCK_EX)
        found = alone(mine).begin().wait(None)
    refused(found, "Prefect server of version 2.0.0", str(os.getpid()), str(mine.home), code=1)


@pytest.fixture
def read_only(mine: House) -> Iterator[House]:
    """The same home on a file system that cannot be written; where none can be mounted, a place that never could."""
    mine.home.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "tmpfs", str(mine.home)]
    mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0
    home = mine.home if mounted else Path("/proc/home")
    yield House(mine.folder, home, mine.tree, mine.recipe, mine.texts, mine.url)
    if mounted:
        subprocess.run(["umount", "-l", str(mine.home)], check=True)


def test_a_read_only_home_is_named_and_a_plan_needs_no_writing(read_only: House) -> None:
    refused(read_only.begin().wait(None), f"{read_only.home} cannot be written", "set FROMZERO_HOME", code=1)
    assert len(read_only.plan("--until", "fetch_shard").to("run")) == 1


def test_a_missing_package_is_named_before_anything_runs(mine: House) -> None:
    environ = with_site(mine, HIDE.format(names={"peft"}))
    found = mine.start("run", "demo", env=environ).wait(None)
    refused(found, "finetune_chat: the Python package peft is missing", "make setup", "pip install peft", code=1)
    assert not (mine.home / "store").exists()


def test_an_old_python_is_told_so_by_the_command(mine: House) -> None:
    environ = with_site(mine, "import sys; sys.version_info = (3, 9, 18, 'final', 0)")
    refused(mine.start("plan", env=environ).wait(None), "needs Python 3.11 or newer", "is 3.9", code=1)


def test_times_in_the_future_harm_nothing(mine: House) -> None:
    mine.run("--until", "fetch_shard")
    (made,) = mine.manifests("fetch_shard")
    path = made.pop("folder") / "manifest.json"
    made["made_by"]["finished"] = "2999-01-01T00:00:00.000+00:00"
    del made["seal"]
    path.write_text(json.dumps({**made, "seal": sha256(made)}))
    left = mine.home / "store" / "_work" / "fetch_shard" / ("0" * 64) / "scratch" / "checkpoint"
    left.parent.mkdir(parents=True)
    left.touch()
    ahead = time.time() + 400 * 86400
    for file in [p for p in mine.home.rglob("*") if p.is_file()]:
        os.utime(file, (ahead, ahead))
    for record in (mine.home / "store" / "_runs").iterdir():
        record.unlink()
    shutil.rmtree(mine.home / "store" / "_refs")
    found = mine.say("gc", "--days", "0")
    assert "freed 0.0 MB" in found.out and left.exists(), found.out
    assert mine.run("--until", "fetch_shard").made() == set()
    mine.whole()
