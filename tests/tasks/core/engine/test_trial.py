"""`fromzero doctor --engine`: what a step of no work finds in each place."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from conf.schema.engine import EngineConf
from tasks.core import plugins
from tasks.core.checks import FAIL, OK
from tasks.core.engine.remote import caller
from tasks.core.engine.trial import trials
from tasks.core.store.local import LocalBackend
from tasks.core.store.store import Store

PLACES = {"local": "tasks.core.engine.places.local", "carried": "tests.tasks.core.engine.carried"}


def test_a_place_is_tried_by_a_step_that_runs_there(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "names", lambda package, group, door="": PLACES)
    store = Store(LocalBackend(home / "store", home))
    conf = EngineConf(places={"pretrain": "carried", "gpu": "local"})
    there, gpu = trials(store, conf, print)
    assert (there.name, there.state) == ("pretrain: carried", OK) and "for a step of no work" in there.found
    assert (gpu.name, gpu.state) == ("gpu: local", FAIL) and "asks for 1 GPU, and this machine shows 0" in gpu.found
    (pretended,) = trials(store, EngineConf(places={"gpu": "local"}, fake_devices=1), print)
    assert pretended.state == OK
    monkeypatch.setattr(caller, "versions", lambda libraries: {"python": "3.11", "torch": "1.0"})
    (other,) = trials(store, EngineConf(places={"pretrain": "carried"}), print)
    assert other.state == FAIL and "torch" in other.found and "(the run has 1.0)" in other.found
    assert not list(store.backend.names("_work/")) and not list(store.manifests())


def test_the_command_tries_the_places_of_an_engine(home: Path) -> None:
    command = [sys.executable, "-m", "flows.cli.main", "doctor", "--json", "--engine"]
    ran = subprocess.run([*command, "local"], capture_output=True, text=True)
    (check,) = json.loads(ran.stdout)["checks"]
    assert ran.returncode == 0 and (check["name"], check["state"]) == ("rest: local", OK)
    unknown = subprocess.run([*command, "locale"], capture_output=True, text=True)
    assert unknown.returncode == 2 and "local" in unknown.stderr
