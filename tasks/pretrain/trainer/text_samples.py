"""What the network writes while it is trained: the likeliest token each time, so that no random state is touched."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tasks.core.errors import ConfigError, DataError
from tasks.formats.model_folder import TOKENIZER_FILE
from tasks.pretrain.pretrain_job import PretrainJob
from tasks.text.encode import Encoder
from tasks.training.cluster.heartbeat import Heartbeat
from tasks.training.trainer.trainer import Trainer
from tasks.training.trainer.training_log import Journal

SHOWN = 80
"""Characters of a sample that are told."""


@dataclass
class Samples:
    """The prompts of a run, ready to be gone on with."""

    job: PretrainJob
    tokenizer: Any
    prompts: tuple[str, ...]
    starts: list[list[int]]
    """The tokens of each prompt, after the one that ends the document before."""
    eos: int
    begun: bool = False

    def write(self, trainer: Trainer, journal: Journal, heartbeat: Heartbeat) -> None:
        """Let the network go on with every prompt, and list what it wrote; to be called on all processes."""
        count, width = self.job.conf.run.sample_tokens, self.job.conf.segment.seq_len
        # The first time may compile the network anew, for as long as that takes.
        with contextlib.nullcontext() if self.begun else heartbeat.paused():
            written = continued(trainer, self.starts, width, count, self.eos)
        self.begun = True
        texts = [self.tokenizer.decode(tokens) for tokens in written]
        found = [{"prompt": prompt, "text": text} for prompt, text in zip(self.prompts, texts, strict=True)]
        journal.sampled(trainer.step, found)
        for one in found:
            journal.result(f"sample: {one['prompt']!r} → {one['text'][:SHOWN]!r}")


def prepare(job: PretrainJob, eos: int) -> Samples | None:
    """The samples that a job asks for, None for none; raises `ConfigError` if they cannot be written."""
    run, width = job.conf.run, job.conf.segment.seq_len
    if run.sample_every is None or not run.sample_prompts:
        return None
    if job.conf.model.resolved_objective != "causal":
        raise ConfigError("pretrain.run.sample_every: only a causal model continues text: set it to null")
    try:
        encoder = Encoder.of_file(f"{job.tokenizer}/{TOKENIZER_FILE}")
    except Exception as error:  # tokenizers raises nothing more particular
        raise DataError(f"{job.tokenizer}/{TOKENIZER_FILE}: {error}; make it again with train_tokenizer") from error
    starts = [[eos, *ids] for ids in encoder.texts(run.sample_prompts)]
    if (longest := max(map(len, starts))) + run.sample_tokens > width:
        raise ConfigError(
            f"pretrain.run.sample_prompts: the longest has {longest - 1} tokens, which with "
            f"pretrain.run.sample_tokens={run.sample_tokens} and the one before them is more than "
            f"pretrain.segments.{run.segment}.seq_len={width}: shorten it, or lower pretrain.run.sample_tokens"
        )
    return Samples(job, encoder.tokenizer, run.sample_prompts, starts, eos)


def continued(trainer: Trainer, starts: Sequence[Sequence[int]], width: int, count: int, eos: int) -> list[list[int]]:
    """`count` tokens after each start, or as many as come before a document's end.

    Each pass is as wide as `width`, so that a compiled network sees one shape; no token sees those after it.
    """
    device = trainer.place.device
    ids = torch.full((len(starts), width), eos, device=device)
    for row, start in enumerate(starts):
        ids[row, : len(start)] = torch.tensor(start, device=device)
    lengths = torch.tensor([len(start) for start in starts], device=device)
    positions = torch.arange(width, device=device).expand(len(starts), width)
    rows = torch.arange(len(starts), device=device)
    with trainer.looking():
        for number in range(count):
            trainer.beat()
            last = lengths + number - 1
            ids[rows, last + 1] = trainer.loss_module.following(ids, positions, last).argmax(1)
    found = [row[len(start) : len(start) + count] for row, start in zip(ids.tolist(), starts, strict=True)]
    return [tokens[: tokens.index(eos)] if eos in tokens else tokens for tokens in found]
