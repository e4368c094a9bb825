"""Groups of training processes, forked from one that has loaded everything: starting many costs one loading of torch.

`python -m tests.tasks.pretrain.group SPEC.json`, the spec a list of [job file, processes, step to stop at or null],
carried out one after another.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tasks.pretrain.pretrain_job import PretrainJob
from tasks.training.cluster.torchrun import environment
from tests.ports import free_ports


def train_groups(folder: Path, *runs: tuple[PretrainJob, int | None]) -> None:
    """Train each job with its run.processes, one after another, until a step (None: to the end)."""
    spec = []
    for number, (job, stop) in enumerate(runs):  # a job may be there twice, with other options
        shutil.copyfile(job.write(), folder / f"{number}.json")
        spec.append([str(folder / f"{number}.json"), job.conf.run.processes, stop])
    (folder / "spec.json").write_text(json.dumps(spec))
    command = [sys.executable, "-m", "tests.tasks.pretrain.group", str(folder / "spec.json")]
    done = subprocess.run(command, env=environment(runs[0][0]), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


class StopAt:
    """Asks for a stop once a step is reached."""

    def __init__(self, loop: Any, step: int | None) -> None:
        self.loop, self.step = loop, step

    @property
    def asked(self) -> bool:
        """Whether the next step is the one to stop at."""
        return self.step is not None and self.loop.trainer.step + 1 == self.step


def _train(path: str, stop: int | None) -> None:
    from torch import distributed

    from tasks.pretrain.trainer.pretrain_loop import PretrainLoop

    job = PretrainJob.read(Path(path))
    loop = PretrainLoop(job, PretrainLoop.place_of(job))
    if loop.run(StopAt(loop, stop)):  # type: ignore[arg-type]
        loop.export()
    loop.checkpoints.close()
    distributed.barrier()


def _fork(path: str, rank: int, world: int, port: int, stop: int | None) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        _train(path, stop)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _group(path: str, world: int, stop: int | None) -> bool:
    """Whether all processes of one job ended well; the first that does not ends the others."""
    # The first process has the store: with its threads here, a fork could copy a lock of libc that one of them holds.
    (port,) = free_ports(1)
    left = {_fork(path, rank, world, port, stop) for rank in range(world)}
    while left:
        child, status = os.wait()
        left.discard(child)
        if status:
            for other in left:
                os.kill(other, 9)
            return False
    return True


def _load() -> None:
    import torch.distributed.fsdp  # noqa: F401
    import transformers.models.llama.modeling_llama
    import transformers.models.qwen3.modeling_qwen3  # noqa: F401

    import tasks.training.trainer.loop  # noqa: F401


if __name__ == "__main__":
    _load()
    runs: Sequence[Any] = json.loads(Path(sys.argv[1]).read_text())
    sys.exit(0 if all(_group(*run) for run in runs) else 1)
