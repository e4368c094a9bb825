"""Pretraining in the training loop: packed tokens, samples of what is written, a state for the next segment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tasks.pretrain.data.batches import padding
from tasks.pretrain.data.packed_data import PackedData
from tasks.pretrain.estimate import flops_per_token, in_words
from tasks.pretrain.pretrain_job import PretrainJob
from tasks.pretrain.trainer import batch_size_probe, segment_export, skipped_batches, text_samples
from tasks.pretrain.trainer.setup import bits_per_byte, make_trainer
from tasks.training.network import attention
from tasks.training.network.device import Place, set_up
from tasks.training.planning.hardware import free_memory_gb
from tasks.training.planning.requirements import refuse_attention
from tasks.training.trainer.loop import Loop
from tasks.training.trainer.trainer import Trainer


class PretrainLoop(Loop[PretrainJob]):
    """One segment of pretraining."""

    data: PackedData

    @classmethod
    def place_of(cls, job: PretrainJob) -> Place:
        """Join the processes that train, and choose the device."""
        place = set_up(job.conf.run, job.conf.run.tensor_parallel)
        refuse_attention(job.conf.run, cuda=place.device.type == "cuda")
        return place

    def make_trainer(self) -> Trainer:
        """Network, loss and data, as they are before the first step."""
        job, conf, free = self.job, self.job.conf, free_memory_gb()
        trainer = make_trainer(job, self.place)
        assert isinstance(trainer.data, PackedData)
        self.data = trainer.data
        if self.place.device.type == "cuda" and conf.model.resolved_objective == "causal":
            self.journal.say(attention.choose(trainer.loss_module.model, self.place, conf.run))
        self.journal.say(in_words(conf, job.vocab_size))
        trainer.micro_batch = batch_size_probe.micro_batch(job, trainer, self.data, free, self.journal.say)
        self.judged = bool(self.data.valid_picks)
        self.bits = bits_per_byte(job, self.data.valid, self.data.valid_picks)
        self.samples = text_samples.prepare(job, self.data.sources[0].files[0].eos_id)
        return trainer

    def flops_per_token(self) -> int | None:
        """Forward and backward; None for an architecture that is not known."""
        return flops_per_token(self.conf.model, self.job.vocab_size, self.conf.segment.seq_len)

    def made_from(self, step: int) -> tuple[list[dict[str, Any]], str]:
        """The sequences of a step's global batch."""
        units = range(self.conf.segment.units(step - 1), self.conf.segment.units(step))
        names = skipped_batches.sources_of(self.job.train)
        found = skipped_batches.samples(self.data.order, self.data.sources, units, names)
        return found, skipped_batches.in_words(found)

    def derived(self) -> dict[str, float]:
        """The newest valid loss in bits per byte, if there is one and the bytes are known."""
        loss = self.losses["valid_loss"]
        return {} if loss is None or self.bits is None else {"valid_bits_per_byte": loss * self.bits}

    def look_beside(self, step: int, last: bool) -> None:
        """What the network writes, when that is due."""
        if self.samples is not None and (last or step % (self.conf.run.sample_every or 1) == 0):
            with self.meter.aside():
                self.samples.write(self.trainer, self.journal, self.heartbeat)

    def loader_state(self, steps: int) -> dict[str, Any]:
        """What is read, and how many blocks were taken of each source."""
        return self.data.order.record(self.conf.segment.units(steps))

    def export(self) -> None:
        """Write model/ and state/ of the artifact."""
        self.take_best()
        job, segment = self.job, self.conf.segment
        segment_export.write_model(self.trainer, Path(job.tokenizer), job.work / "model")
        before = segment_export.read_state(Path(job.start)).get("tokens", 0) if job.start else 0
        record = {"loader": self.loader_state(self.steps), "steps": self.steps}
        record["tokens"] = before + segment.tokens_after(self.steps)
        segment_export.write_state(self.trainer, job.work / "state", record)

    def stats(self) -> dict[str, Any]:
        """What the manifest says of the run."""
        return {**super().stats(), "padding": round(padding(self.data.sources), 6)}
