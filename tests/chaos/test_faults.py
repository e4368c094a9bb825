"""A short seeded choice of the faults of `make chaos`: kinds drawn anew with each seed, on a folder and in a bucket."""

from __future__ import annotations

import json
import os
import random
import subprocess
from collections.abc import Iterator

import pytest

from tasks.core.store.lease import lock_file
from tests import one_secret
from tests.chaos import aftermath
from tests.chaos.conftest import SEED
from tests.chaos.faults import choice, inject
from tests.chaos.rig import PLACES, Rig, rigged
from tests.chaos.strikes import KINDS
from tests.s3_server import S3Server

COUNT = 4
WHERE = ("local", "bucket")


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("rig")
    with pytest.MonkeyPatch.context() as patched:
        for name, value in {**S3Server(folder).env, **one_secret.PREFECT}.items():
            patched.setenv(name, value)
        with rigged(folder) as made:
            yield made


def test_after_a_fault_at_most_one_more_command_ends_as_if_undisturbed_and_nothing_is_left(rig: Rig) -> None:
    chance = random.Random(f"{SEED} faults")
    here = [kind for kind in KINDS if {*kind.places} & {*WHERE} and "toy" in kind.flows]
    quick = [kind for kind in here if not (kind.long or kind.clock)]
    for kind, place, flow in choice(COUNT, chance, quick, WHERE, ("toy",)):
        fate = inject(rig, kind, place, flow, chance)
        assert fate.end != "failed", fate


def test_what_a_fault_might_leave_is_found(rig: Rig) -> None:
    place, store = PLACES["local"], rig.home / "store"
    rig.learn("toy", place)
    said = rig.begin("toy", place).wait().json
    assert aftermath.wrong(rig, "toy", place, said) == []

    prefect, mlflow, run = rig.databases["prefect"], rig.databases["mlflow"], said["run"]
    rig.postgres.execute(f"UPDATE flow_run SET state_type = 'RUNNING' WHERE id = '{run}'", prefect)
    rig.postgres.execute(f"UPDATE task_run SET name = 'other' WHERE flow_run_id = '{run}' AND name = 'join'", prefect)
    columns, row = "run_uuid, name, status, experiment_id, lifecycle_stage", "'x', 'x', 'RUNNING', 0, 'active'"
    rig.postgres.execute(f"INSERT INTO runs ({columns}) VALUES ({row})", mlflow)
    holder = {"holder": f"here (process {os.getpid()})", "released": False}
    rig.stores["bucket"].backend.put("_locks/x", json.dumps(holder).encode())
    for path in (store / "_work/train/x/progress", store / "make/x/y/content/half", store / "_locks/x.lock"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with lock_file(store / "_locks/x.lock"), subprocess.Popen(["sleep", "600"], env=rig.env) as left:
        found = aftermath.wrong(rig, "toy", place, said, patience=0)
        left.kill()
    for word in (
        f"process {left.pid} is left", "x.lock is locked", "_locks/x is held by here", "flow run", "MLflow's run x",
        "1 task runs of join are lost", "1 task runs of other are too many", "train/x/progress is left",
        "content/half belongs to nothing",
    ):  # fmt: skip
        assert any(word in line for line in found), (word, found)
    assert "other digests" in aftermath.wrong(rig, "toy", place, {**said, "outcomes": said["outcomes"][1:]})[0]
