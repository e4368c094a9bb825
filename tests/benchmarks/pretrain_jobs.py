"""Training as fromzero does it, measured: `python -m tests.benchmarks.pretrain_jobs JOB FOLDER [compile]`.

FOLDER/spec.json says the sizes; see tests/benchmarks/pretrain.py.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from conf.compose import compose
from tasks.pretrain.pretrain_job import PretrainJob
from tasks.pretrain.trainer.pretrain_loop import PretrainLoop
from tasks.training.trainer.signals import Stop
from tests.benchmarks import pretrain_text
from tests.benchmarks.measuring import Steps
from tests.trainer_process import Body, rows, wait_for

FAR = 10**6
"""Steps between checkpoints where there is to be none."""


def job_of(folder: Path, name: str, steps: int, *, joined: bool = False, **run: Any) -> PretrainJob:
    """The demo's pretraining for so many steps, in FOLDER/out-NAME; `joined`: each file is one document."""
    spec = json.loads((folder / "spec.json").read_text())
    recipe = compose("demo")
    conf = recipe.pretrain.chain(recipe.model)[0]
    segment = conf.segment.model_copy(update={"tokens": steps * spec["batch"] * spec["seq_len"]})
    options = {"threads": spec["threads"], "precision": spec["precision"], "checkpoint_steps": FAR, **run}
    conf = conf.model_copy(update={"segment": segment, "run": conf.run.model_copy(update=options)})
    text = pretrain_text.join(folder, folder / "joined") if joined else folder
    return pretrain_text.job(text, folder / f"out-{name}", conf)


def speed(folder: Path, compiled: bool = False, joined: bool = False) -> dict[str, Any]:
    """The loop with no checkpoint but the last."""
    spec = json.loads((folder / "spec.json").read_text())
    job = job_of(folder, "speed", spec["steps"], joined=joined, compile=compiled)
    steps, loop = Steps(), PretrainLoop(job, PretrainLoop.place_of(job))
    update = loop.trainer.update

    def counted(*flags: bool) -> Any:
        figures = update(*flags)
        steps.tick()
        return figures

    loop.trainer.update = counted  # type: ignore[method-assign]
    loop.run(Stop())
    parameters = sum(parameter.numel() for parameter in loop.trainer.named.values())
    return {"parameters": parameters, "loss": loop.losses["loss"], **steps.found(spec["skip"])}


def stall(folder: Path, wait: bool = False) -> dict[str, Any]:
    """The loop with a checkpoint every few steps, in the background or, with `wait`, waited for."""
    spec = json.loads((folder / "spec.json").read_text())
    job = job_of(folder, "stall", spec["saves"] * spec["save_every"], checkpoint_steps=spec["save_every"])
    steps, loop = Steps(), PretrainLoop(job, PretrainLoop.place_of(job))
    save = loop.checkpoints.save

    def waited(*args: Any, **options: Any) -> None:
        save(*args, **options)
        loop.checkpoints.wait()

    loop.checkpoints.save = steps.stall(waited if wait else save)  # type: ignore[method-assign]
    loop.run(Stop())
    return {"stall": statistics.median(steps.stalls), "saves": len(steps.stalls)}


def lives(folder: Path) -> dict[str, Any]:
    """Seconds from the start of the step's body, with torchrun and all, to its first step; and, after a SIGTERM, from
    the second start to the first new step."""
    job = job_of(folder, "lives", FAR, log_every=1)
    found = {}
    for name in ("first", "resumed"):
        before, began = len(rows(job)), time.monotonic()
        body = Body(job)
        wait_for(lambda before=before: len(rows(job)) > before, "no step ever came")  # type: ignore[misc]
        found[name] = time.monotonic() - began
        os.killpg(body.process.pid, signal.SIGTERM)
        body.said()
    return found


JOBS = {
    "speed": speed,
    "speed_compiled": lambda folder: speed(folder, True),
    "speed_joined": lambda folder: speed(folder, joined=True),
    "stall": stall,
    "stall_waited": lambda folder: stall(folder, True),
    "lives": lives,
}

if __name__ == "__main__":
    print("\n" + json.dumps(JOBS[sys.argv[1]](Path(sys.argv[2]))), flush=True)
    os._exit(0)  # the process group has nobody to take leave of
