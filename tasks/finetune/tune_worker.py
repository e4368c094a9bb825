"""One process of fine-tuning: `python -m tasks.finetune.tune_worker JOB.json`, under torchrun."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.finetune.tune_job import TuneJob
from tasks.training.trainer.worker import run

if TYPE_CHECKING:
    from tasks.training.trainer.loop import Loop

JOB = TuneJob


def loop() -> type[Loop[TuneJob]]:
    """The loop, with which torch is loaded."""
    from tasks.finetune.tune_loop import TuneLoop

    return TuneLoop


if __name__ == "__main__":
    run(JOB, loop)
