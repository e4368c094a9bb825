"""Try a place out, before a run does: a step of no work, which looks around where it is."""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from conf.schema.engine import EngineConf
from tasks.core import devices
from tasks.core.checks import FAIL, OK, WARN, Check
from tasks.core.engine.placing import GPU, REST, Placing
from tasks.core.engine.workspace import Job, Outcome, Workspace
from tasks.core.errors import FromzeroError
from tasks.core.step import Call, Resources, Step, step
from tasks.core.store.store import Store
from tasks.core.workdir import Workdir

LIBRARIES = ("numpy", "pyarrow", "torch", "transformers")
"""Distributions that have to be the same there as here."""
CLOCK_SLACK = 30.0
"""Seconds by which the clocks of two machines may differ."""
LONGEST = 120.0
"""Seconds that a trial may take once it has begun."""


@step(needs=LIBRARIES, timeout=LONGEST)
def look_around(nonce: str, conf: None, work: Workdir) -> dict[str, Any]:
    """Says what is there."""
    (work / "nonce").write_text(nonce)
    names = [gpu.name for gpu in devices.gpus()]
    return {"host": platform.node(), "cpus": os.cpu_count(), "gpus": names, "time": time.time()}


def trials(store: Store, conf: EngineConf, say: Callable[[str], None]) -> Iterator[Check]:
    """One row for each name in engine.places (`rest` for this machine if nothing is named), and what is wrong there."""
    for name in conf.places or {REST: "local"}:
        chosen = (conf.places or {REST: "local"})[name]
        yield _tried(store, conf.model_copy(update={"places": {REST: chosen}}), say, f"{name}: {chosen}", name == GPU)


def _tried(store: Store, conf: EngineConf, say: Callable[[str], None], label: str, gpu: bool) -> Check:
    wanted = replace(look_around, resources=Resources(gpu=int(gpu), gpu_must=gpu))
    try:
        placing, begun = Placing(conf), time.time()
        placing.check([(wanted, label)])
        found = _carried_out(store, placing, wanted, say)
    except FromzeroError as error:
        return Check(label, FAIL, str(error))
    took, off = time.time() - begun, abs(found["time"] - time.time())
    gpus = f", {', '.join(found['gpus'])}" if found["gpus"] else ""
    said = f"{found['host']}, {found['cpus']} cores{gpus}; {took:.1f} s for a step of no work"
    if off > CLOCK_SLACK + took:
        return Check(label, WARN, f"{said}; its clock is {off:.0f} s off", "set both clocks by NTP: pages mix times up")
    if gpu and not found["gpus"] and not conf.fake_devices:
        return Check(
            label, WARN, said, "it shows no GPU by nvidia-smi: what asks for one trains on the processor there"
        )
    return Check(label, OK, said)


def _carried_out(store: Store, placing: Placing, wanted: Step, say: Callable[[str], None]) -> dict[str, Any]:
    nonce = uuid4().hex
    job = Job(Call(wanted, (nonce,)), nonce, {}, Outcome(wanted.name, None))
    with store.lock(job.path) as lease, tempfile.TemporaryDirectory() as folder:
        try:
            work = store.backend.open_work(job.path, lease)
            workspace = Workspace(store, say, placing)
            workspace.ready(work, job, lambda why: False)
            return workspace.run(job, work, lease, Path(folder) / "log", {}, say)
        finally:
            store.backend.close_work(job.path)
