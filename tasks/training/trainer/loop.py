"""The training loop: from a job to a model, through any number of interruptions."""

from __future__ import annotations

import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch.distributed as dist

from tasks.core.errors import ArtifactError
from tasks.training.cluster.heartbeat import Heartbeat
from tasks.training.job import CHECKPOINTS, Job
from tasks.training.network.device import Place, describe
from tasks.training.trainer.checkpoint import Checkpoints, Damaged
from tasks.training.trainer.rollback import Rollback
from tasks.training.trainer.signals import Stop
from tasks.training.trainer.throughput import Meter, line, progress_event
from tasks.training.trainer.trainer import Figures, Trainer
from tasks.training.trainer.training_log import Journal

J = TypeVar("J", bound=Job)


class Loop(ABC, Generic[J]):
    """One run of the loop in one process. What is trained, and what becomes of it, a subclass says."""

    judged = True
    """Whether there is a valid part to be looked at."""

    def __init__(self, job: J, place: Place) -> None:
        self.job, self.place = job, place
        self.journal = Journal(job.work, place.rank == 0)
        self.trainer = self.make_trainer()
        self.conf: Any = self.trainer.conf
        self.steps = self.conf.segment.steps
        self.checkpoints = self._open_checkpoints()
        self.heartbeat = Heartbeat.here()
        self.trainer.beat = self.checkpoints.beat = self.heartbeat.beat
        self.rollback = Rollback(self.conf.optimizer.guard_patience, self.conf.optimizer.rollback_interval)
        self.losses: dict[str, float | None] = {"loss": None, "valid_loss": None, "best": None, "worse": 0}
        self.seconds = 0.0
        self._resume()
        self._end_early()
        self.began = self.saved_at = time.monotonic()
        self.meter = Meter(self.conf.segment, place, self.flops_per_token(), self.trainer.step)
        self.trainer.reading = self.meter.waiting
        self.validated = False
        if self.trainer.step == 0 and self.rollback.due(0):
            self.save()

    @classmethod
    @abstractmethod
    def place_of(cls, job: J) -> Place:
        """Join the processes that train, and choose the device."""

    @abstractmethod
    def make_trainer(self) -> Trainer:
        """Network, loss and data, as they are before the first step."""

    @abstractmethod
    def export(self) -> None:
        """Write what the training is for; called on all processes."""

    def flops_per_token(self) -> int | None:
        """Forward and backward; None if it is not known."""
        return None

    def made_from(self, step: int) -> tuple[list[dict[str, Any]], str]:
        """Which data the update of a step was made from, and in words."""
        return [], ""

    def derived(self) -> dict[str, float]:
        """Further metrics that follow from the newest valid loss."""
        return {}

    def look_beside(self, step: int, last: bool) -> None:
        """What else is looked at after a step."""

    def loader_state(self, steps: int) -> dict[str, Any]:
        """All of the loader's state after so many steps."""
        return {}

    def _progress(self, step: int) -> None:
        self.job.work.progress = step

    def _open_checkpoints(self) -> Checkpoints:
        if self.job.shared is None:
            return Checkpoints(self.job.work.scratch / CHECKPOINTS, self._progress, self.journal.say)
        from tasks.training.trainer.bucket_checkpoint import BucketCheckpoints

        return BucketCheckpoints(self.job, self._progress, self.journal.say, self.journal.files)

    def _load(self, choose: Callable[[], Path | None]) -> dict[str, Any] | None:
        """Load the checkpoint that is chosen, or as often as it is found to be damaged, the one that is chosen then."""
        while (folder := choose()) is not None:
            try:
                record = self.load(folder)
                if self.place.rank == 0:
                    self.journal.catch_up(self.checkpoints.kept_beside(folder))
                return record
            except Damaged as error:
                self.checkpoints.discard(folder, str(error))
        return None

    def _resume(self) -> None:
        record = self._load(self.checkpoints.latest)
        if record is None:
            return
        trainer = self.trainer
        trainer.step, trainer.skipped = int(record["step"]), int(record["skipped"])
        trainer.guard.restore(record["guard"])
        if "retreat" in record:  # its former name; it is not in a checkpoint of an earlier fromzero
            self.rollback.restore(record["retreat"])
        self.seconds, self.losses = float(record["seconds"]), dict(record["losses"])
        if self.place.rank == 0 and self.job.work.progress < trainer.step:  # of another machine
            self._progress(trainer.step)
        self.journal.notice(f"resuming from the checkpoint of step {trainer.step}")

    def load(self, folder: Path) -> dict[str, Any]:
        """Weights, moments and random state of a checkpoint; with another number of processes, dropout starts anew."""
        saved = self.checkpoints.record(folder)
        same = (saved["world"], saved.get("tensor", 1)) == (self.place.world, self.place.tensor)
        state = self.trainer.tensors(rng=same)
        record = self.checkpoints.load(folder, state)
        if same:
            self.trainer.set_rng(state)
        else:
            self.trainer.seed_rng(int(record["step"]))
        return record

    def run(self, stop: Stop) -> bool:
        """Train to the end of the budget, or save and return False when asked to stop."""
        while self.trainer.step < self.steps:
            due = time.monotonic() - self.saved_at > 60 * self.conf.run.checkpoint_minutes
            figures = self.trainer.update(stop.asked, due and self.place.rank == 0)
            stopped, clock = figures.flags
            step = self.trainer.step
            self.heartbeat.finished(step)
            kept = self._went_back(figures) or self.rollback.due(step)
            self._look(figures)
            self._end_early()
            if stopped or clock or kept or step == self.steps or step % self.conf.run.checkpoint_steps == 0:
                self.save()
            self.checkpoints.poll()
            if stopped and step < self.steps:
                self.checkpoints.wait()
                return False
        self.checkpoints.wait()
        return True

    def _went_back(self, figures: Figures) -> bool:
        """Report a skipped update; after too many in a row, go back to the weights of an earlier checkpoint."""
        step, trainer = self.trainer.step, self.trainer
        if figures.skipped:
            self._report(step, figures)
        point = self.rollback.judge(step, figures.skipped)
        if point is None:
            return False
        with self.heartbeat.paused():
            self.checkpoints.wait()
            folder = self.checkpoints.of(point)
            if folder is None:
                raise ArtifactError(
                    f"the checkpoint of step {point}, to go back to after {self.rollback.row} skipped updates, is gone "
                    "or broken: set pretrain.optimizer.guard_patience=null, or run from the beginning (--refresh "
                    "pretrain)"
                )
            trainer.guard.restore(self.checkpoints.load(folder, trainer.tensors(rng=False))["guard"])
        self.rollback.went_back(point, step)
        self.journal.say(f"step {step}: too many skipped updates: back to the weights of step {point}, with new data")
        return True

    def _report(self, step: int, figures: Figures) -> None:
        """Say and list which data a skipped update was made from."""
        if not self.journal.writes:
            return
        found, words = self.made_from(step)
        about = {"loss": str(figures.loss), "grad_norm": str(figures.norm), "samples": found}
        self.journal.skipped(step, about)
        self.journal.say(
            f"step {step}: loss {figures.loss:.4g}, gradient norm {figures.norm:.4g}: update skipped"
            + (f"; it was of {words}" if words else "")
        )

    def _end_early(self) -> None:
        """Let the present step be the last one if the valid loss has not become lower for long enough."""
        patience = self.conf.segment.patience
        if patience is not None and (self.losses.get("worse") or 0) >= patience and self.trainer.step < self.steps:
            self.steps = self.trainer.step
            said = f"step {self.steps}: no lower valid loss in {patience} looks: ending before the budget"
            self.journal.result(said)

    def _look(self, figures: Figures) -> None:
        """Valid loss, metrics and progress, each when it is due."""
        step, last = self.trainer.step, self.trainer.step == self.steps
        self.losses |= {"loss": figures.loss, "valid_loss": None}
        values = {"loss": figures.loss, "grad_norm": figures.norm, "learning_rate": figures.rate}
        if self.judged and (last or step % self.conf.eval_interval == 0):
            values["valid_loss"] = self.validate()
            values |= self.derived()
        self.look_beside(step, last)
        if last or "valid_loss" in values or step % self.conf.run.log_every == 0:
            self._log(step, values)

    def validate(self) -> float:
        """The loss on the valid part, in nats per label; the best is saved, if that becomes the model."""
        # The first look may compile the network anew, for as long as that takes.
        with contextlib.nullcontext() if self.validated else self.heartbeat.paused(), self.meter.aside():
            loss = self.trainer.evaluate()
        self.validated = True
        best = self.losses["best"]
        better = best is None or loss < best
        self.losses |= {"valid_loss": loss, "worse": 0 if better else (self.losses.get("worse") or 0) + 1}
        if better:
            self.losses["best"] = loss
            if self.conf.segment.export == "best":
                self.save()
        return loss

    def _log(self, step: int, values: dict[str, float]) -> None:
        values |= {**self.meter.read(step, self.steps), "skipped_updates": self.trainer.skipped}
        self.journal.row(step, values)
        said = line(step, self.steps, values)
        (self.journal.result if "valid_loss" in values else self.journal.say)(said)
        self.journal.tell(progress_event(step, self.steps, values))

    def save(self) -> None:
        """Checkpoint the present step in the background."""
        trainer = self.trainer
        record = {
            "step": trainer.step,
            "tokens": self.conf.segment.tokens_after(trainer.step),
            "skipped": trainer.skipped,
            "guard": trainer.guard.state(),
            "losses": self.losses,
            "seconds": self.elapsed(),
            "world": self.place.world,
            "tensor": self.place.tensor,
            "loader": self.loader_state(trainer.step),
            "retreat": self.rollback.state(),
        }
        with self.meter.stalling():
            self.checkpoints.save(trainer.step, trainer.tensors(), record, keep=self.rollback.points)
        self.saved_at = time.monotonic()

    def elapsed(self) -> float:
        """Seconds of training so far, earlier processes included."""
        return self.seconds + time.monotonic() - self.began

    def take_best(self) -> None:
        """Go back to the weights that become the model, if these are not the last ones."""
        if self.conf.segment.export == "best":
            self._load(self.checkpoints.best)

    def stats(self) -> dict[str, Any]:
        """What the manifest says of the run."""
        tokens, seconds = self.conf.segment.tokens_after(self.steps), self.elapsed()
        metrics = {"loss": self.losses["loss"], "valid_loss": self.losses["valid_loss"], **self.derived()}
        speed, flops = tokens / max(seconds, 1e-9), self.meter.flops
        return {
            "tokens": tokens,
            "steps": self.steps,
            "parameters": sum(parameter.numel() for parameter in self.trainer.named.values()),
            **metrics,
            "tokens_per_second": round(speed, 1),
            "flops": flops * tokens if flops is not None else None,
            "mfu": self.meter.utilisation(speed),
            "memory_peak_gb": self.meter.device_metrics.most()["memory_peak_gb"],
            "skipped_updates": self.trainer.skipped,
            "went_back": len(self.rollback.windows),
            "device": describe(self.place.device),
            "world_size": self.place.world,
            "metrics": {name: value for name, value in metrics.items() if value is not None},
        }


def train(job: J, kind: type[Loop[J]]) -> dict[str, Any] | None:
    """Carry out a job; the status to be written, on the first process only."""
    with Stop().caught() as stop:
        return _train(job, kind, stop)


def _train(job: J, kind: type[Loop[J]], stop: Stop) -> dict[str, Any] | None:
    place = kind.place_of(job)
    loop = kind(job, place)
    done = loop.run(stop)
    loop.heartbeat.rest()
    stats = loop.stats() if done else {}
    if done:
        loop.export()
    loop.checkpoints.close()
    dist.barrier()
    dist.destroy_process_group()
    if place.rank:
        return None
    step = loop.trainer.step
    if done:
        return {"ok": True, "kind": None, "message": "", "step": step, "stats": stats}
    message = f"interrupted: saved at step {step} of {loop.steps}; run again to go on"
    loop.journal.say(message)
    return {"ok": False, "kind": "ChildKilled", "message": message, "step": step}
