"""Fine-tuning in the training loop."""

from __future__ import annotations

import math
from importlib import import_module
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from tasks.core.errors import StepError
from tasks.finetune import examples
from tasks.finetune.tune_job import TuneJob, Tuning
from tasks.training.network.device import Place, set_up
from tasks.training.planning.hardware import on_cpu
from tasks.training.trainer.loop import Loop
from tasks.training.trainer.trainer import Trainer


class TuneLoop(Loop[TuneJob]):
    """One fine-tuning: the weights that were trained are what it leaves."""

    @classmethod
    def place_of(cls, job: TuneJob) -> Place:
        """Join the processes that train, and choose the device; on CPUs `auto` is fp32, the same on every machine."""
        run = job.conf.run
        if run.precision == "auto" and on_cpu(run.device):
            run = run.model_copy(update={"precision": "fp32"})
        return set_up(run)

    def make_trainer(self) -> Trainer:
        """Network, loss and data, as they are before the first step."""
        job, conf = self.job, self.job.conf
        module, _, name = job.build.partition(":")
        loss_module, collate = getattr(import_module(module), name)(Path(job.model), job.about)
        rows, valid = examples.read(job.examples, "train"), examples.read(job.examples, "valid")
        lengths = [len(row["input_ids"]) for row in rows]
        places = examples.order(lengths, conf)
        tuning = Tuning.of(conf, tuple(lengths[place] for place in places), job.patience)
        # held-out examples of like length together: less padding
        valid.sort(key=lambda row: len(row["input_ids"]))
        data = examples.Examples([rows[place] for place in places], valid, collate, conf.batch_size)
        return Trainer(tuning, self.place, loss_module, data)

    def validate(self) -> float:
        """The loss on the valid part; raises `StepError` if it is no number any more."""
        loss = super().validate()
        if not math.isfinite(loss):
            train = f"models.{self.job.conf.run.model}.train"
            raise StepError(
                f"valid_loss is {loss} at step {self.trainer.step}: lower {train}.learning_rate or "
                f"{train}.max_grad_norm"
            )
        return loss

    def export(self) -> None:
        """Write the weights that were trained, and no others."""
        self.take_best()
        weights = {name: self.trainer.full(value) for name, value in self.trainer.named.items()}
        if self.place.rank == 0:
            save_file(weights, self.job.trained)

    def stats(self) -> dict[str, Any]:
        """What the kind gets to know: the steps made, the one whose weights were taken, and its loss."""
        found = {**super().stats(), "best_step": self.steps}
        if self.conf.segment.export == "best":
            folder = self.checkpoints.best()
            assert folder is not None, "the last look saves"
            record = self.checkpoints.record(folder)
            found |= {"best_step": int(record["step"]), "valid_loss": float(record["losses"]["valid_loss"])}
        return found
