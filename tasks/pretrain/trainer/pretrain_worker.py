"""One process of pretraining: `python -m tasks.pretrain.trainer.pretrain_worker JOB.json`, under torchrun."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.pretrain.pretrain_job import PretrainJob
from tasks.training.trainer.worker import run

if TYPE_CHECKING:
    from tasks.training.trainer.loop import Loop

JOB = PretrainJob


def loop() -> type[Loop[PretrainJob]]:
    """The loop, with which torch is loaded."""
    from tasks.pretrain.trainer.pretrain_loop import PretrainLoop

    return PretrainLoop


if __name__ == "__main__":
    run(JOB, loop)
