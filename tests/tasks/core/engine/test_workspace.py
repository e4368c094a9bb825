"""The workspace: what an attempt takes."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from conf.schema.engine import EngineConf
from tasks.core.artifact import Manifest
from tasks.core.engine import child_process
from tasks.core.engine.placing import Placing
from tasks.core.engine.workspace import Job, Outcome, Workspace
from tasks.core.step import Call, Cpu
from tasks.core.store.lease import FileLease
from tasks.core.store.local import LocalBackend
from tasks.core.store.store import Store
from tasks.core.workdir import Workdir
from tests import toy
from tests.tasks.core.backends import Place


def test_the_wait_for_cores_is_no_time_of_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does it count in the next run: only the attempt's own time is noted in the scratch."""
    placing = Placing(EngineConf(cpus=1))
    workspace, work = Workspace(Store(LocalBackend(tmp_path / "store")), print, placing), Workdir(tmp_path / "work")
    job = Job(Call(toy.train, (), toy.ToyConf()), "k", {}, Outcome("train", None, attempts=1))
    began: list[float] = []

    def child(*_: Any) -> dict[str, Any]:
        began.append(time.monotonic())
        return {}

    monkeypatch.setattr(child_process, "run_child", child)
    work.make()
    arguments = (job, work, FileLease(0), tmp_path / "log", {}, print)
    runner = threading.Thread(target=workspace.run, args=arguments)
    with placing.slots.take(Cpu(1)):
        runner.start()
        time.sleep(1.0)
        assert not began
    runner.join()
    assert began and job.outcome.seconds < 0.5 and work.spent == (job.outcome.seconds, 1)


def test_a_scratch_that_begins_anew_does_so_everywhere_and_the_lease_s_epoch_stays(place: Place) -> None:
    """On S3 what another machine would find of it goes too, and training still knows under which lease it works."""
    store, job = place.store(), Job(Call(toy.train, (), toy.ToyConf()), "k", {}, Outcome("train", None))
    workspace = Workspace(store, print, Placing())
    with store.lock(job.path) as lease:
        work = store.backend.open_work(job.path, lease)
        workspace.ready(work, job, lambda why: False)
        work.progress = 7
        store.backend.save_work(job.path, work, lease)
        before = work.epoch_file.exists()
        job.over = Manifest("train", "k", {}, "", "an attempt before", (), {}, ())
        workspace.ready(work, job, lambda why: False)
        assert work.progress == 0 and work.epoch_file.exists() == before
        assert not [name for name in store.backend.names("_work/") if name.endswith("index.json")]
