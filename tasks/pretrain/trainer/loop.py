"""The training loop: from a job to a model, through any number of interruptions."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.distributed as dist

from tasks.core.errors import ArtifactError
from tasks.pretrain.cluster.heartbeat import Heartbeat
from tasks.pretrain.data.batches import padding
from tasks.pretrain.job import CHECKPOINTS, Job
from tasks.pretrain.network import attention
from tasks.pretrain.network.device import Place, describe, set_up
from tasks.pretrain.planning.estimate import in_words
from tasks.pretrain.planning.hardware import free_memory_gb
from tasks.pretrain.trainer import batch_size_probe, skipped_batches, text_samples
from tasks.pretrain.trainer import segment_export as export
from tasks.pretrain.trainer.checkpoint import Checkpoints, Damaged
from tasks.pretrain.trainer.rollback import Rollback
from tasks.pretrain.trainer.setup import bits_per_byte, choose_valid, make_meter, make_trainer
from tasks.pretrain.trainer.signals import Stop
from tasks.pretrain.trainer.throughput import line, progress_event
from tasks.pretrain.trainer.trainer import Figures
from tasks.pretrain.trainer.training_log import Journal


class Loop:
    """One run of the loop in one process."""

    def __init__(self, job: Job, place: Place) -> None:
        self.job, self.conf, self.place = job, job.conf, place
        self.steps = job.conf.segment.steps
        self.journal = Journal(job.work, place.rank == 0)
        free = free_memory_gb()
        self.trainer = make_trainer(job, place)
        network = self.trainer.loss_module.model
        if place.device.type == "cuda" and job.conf.model.resolved_objective == "causal":
            self.journal.say(attention.choose(network, place, job.conf.run.attention))
        self.journal.say(in_words(job.conf, job.vocab_size))
        self.trainer.micro_batch = batch_size_probe.micro_batch(job, self.trainer, free, self.journal.say)
        self.valid, self.valid_picks = choose_valid(job)
        self.bits = bits_per_byte(job, self.valid, self.valid_picks)
        self.samples = text_samples.prepare(job, self.trainer.sources[0].files[0].eos_id)
        self.checkpoints = self._open_checkpoints()
        self.heartbeat = Heartbeat.here()
        self.trainer.beat = self.checkpoints.beat = self.heartbeat.beat
        self.rollback = Rollback(job.conf.optimizer.guard_patience, job.conf.optimizer.rollback_interval)
        self.losses: dict[str, float | None] = {"loss": None, "valid_loss": None, "best": None, "worse": 0}
        self.seconds = 0.0
        self._resume()
        self._end_early()
        self.began = self.saved_at = time.monotonic()
        self.meter = make_meter(job, place, self.trainer.step)
        self.trainer.reading = self.meter.waiting
        self.validated = False
        if self.trainer.step == 0 and self.rollback.due(0):
            self.save()

    def _progress(self, step: int) -> None:
        self.job.work.progress = step

    def _open_checkpoints(self) -> Checkpoints:
        if self.job.shared is None:
            return Checkpoints(self.job.work.scratch / CHECKPOINTS, self._progress, self.journal.say)
        from tasks.pretrain.trainer.bucket_checkpoint import BucketCheckpoints

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
        units = range(self.conf.segment.units(step - 1), self.conf.segment.units(step))
        found = skipped_batches.samples(
            self.trainer.order, self.trainer.sources, units, skipped_batches.sources_of(self.job.train)
        )
        about = {"loss": str(figures.loss), "grad_norm": str(figures.norm), "samples": found}
        self.journal.skipped(step, about)
        self.journal.say(
            f"step {step}: loss {figures.loss:.4g}, gradient norm {figures.norm:.4g}: update skipped; it was of "
            f"{skipped_batches.in_words(found)}"
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
        if self.valid_picks and (last or step % self.conf.eval_interval == 0):
            values["valid_loss"] = self._validate()
            values |= self._in_bits()
        if self.samples is not None and (last or step % (self.conf.run.sample_every or 1) == 0):
            with self.meter.aside():
                self.samples.write(self.trainer, self.journal, self.heartbeat)
        if last or "valid_loss" in values or step % self.conf.run.log_every == 0:
            self._log(step, values)

    def _validate(self) -> float:
        # The first look may compile the network anew, for as long as that takes.
        with contextlib.nullcontext() if self.validated else self.heartbeat.paused(), self.meter.aside():
            loss = self.trainer.evaluate(self.valid_picks, self.valid)
        self.validated = True
        best = self.losses["best"]
        better = best is None or loss < best
        self.losses |= {"valid_loss": loss, "worse": 0 if better else (self.losses.get("worse") or 0) + 1}
        if better:
            self.losses["best"] = loss
            if self.conf.segment.export == "best":
                self.save()
        return loss

    def _in_bits(self) -> dict[str, float]:
        """The newest valid loss in bits per byte, if there is one and the bytes are known."""
        loss = self.losses["valid_loss"]
        return {} if loss is None or self.bits is None else {"valid_bits_per_byte": loss * self.bits}

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
            "loader": self._loader(trainer.step),
            "retreat": self.rollback.state(),
        }
        with self.meter.stalling():
            self.checkpoints.save(trainer.step, trainer.tensors(), record, keep=self.rollback.points)
        self.saved_at = time.monotonic()

    def _loader(self, steps: int) -> dict[str, Any]:
        return self.trainer.order.record(self.conf.segment.units(steps))

    def elapsed(self) -> float:
        """Seconds of training so far, earlier processes included."""
        return self.seconds + time.monotonic() - self.began

    def export(self) -> None:
        """Write model/ and state/ of the artifact."""
        if self.conf.segment.export == "best":
            self._load(self.checkpoints.best)
        export.write_model(self.trainer, Path(self.job.tokenizer), self.job.work / "model")
        tokens = self.conf.segment.tokens_after(self.steps)
        before = export.read_state(Path(self.job.start)).get("tokens", 0) if self.job.start else 0
        record = {"loader": self._loader(self.steps), "steps": self.steps, "tokens": before + tokens}
        export.write_state(self.trainer, self.job.work / "state", record)

    def stats(self) -> dict[str, Any]:
        """What the manifest says of the run."""
        tokens, seconds = self.conf.segment.tokens_after(self.steps), self.elapsed()
        metrics = {"loss": self.losses["loss"], "valid_loss": self.losses["valid_loss"], **self._in_bits()}
        speed, flops = tokens / max(seconds, 1e-9), self.meter.flops
        return {
            "tokens": tokens,
            "steps": self.steps,
            "parameters": sum(parameter.numel() for parameter in self.trainer.named.values()),
            **metrics,
            "padding": round(padding(self.trainer.sources), 6),
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


def train(job: Job) -> dict[str, Any] | None:
    """Carry out a job; the status to be written, on the first process only."""
    stop = Stop()
    place = set_up(job.conf.run)
    loop = Loop(job, place)
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
