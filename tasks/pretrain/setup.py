"""From a job to a trainer that stands before its first step."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tasks.core.errors import ConfigError
from tasks.pretrain import export, model
from tasks.pretrain.batches import Order, Source, apportion, open_sources
from tasks.pretrain.device import Place
from tasks.pretrain.job import Job
from tasks.pretrain.trainer import Trainer

EVERYTHING = "all"
"""The one source of a segment without a mixture."""


def open_training(job: Job) -> dict[str, Source]:
    """The sources of the mixture by name, or one of everything; raises `ConfigError` for an unknown source."""
    segment = job.conf.segment
    mixture, shape = segment.mixture, (segment.seq_len, segment.packing)
    if mixture is None:
        return open_sources({EVERYTHING: [Path(path) for paths in job.train.values() for path in paths]}, *shape)
    if unknown := sorted(set(mixture) - set(job.train)):
        raise ConfigError(f"segment.mixture names {unknown}, but the sources are {sorted(job.train)}")
    return open_sources({name: [Path(path) for path in job.train[name]] for name in sorted(mixture)}, *shape)


def choose_valid(job: Job) -> tuple[list[Source], list[tuple[int, int]]]:
    """The valid tokens as one source, concatenated whatever the segment's packing, and a fixed choice of its blocks,
    spread evenly; both empty without any."""
    if not job.valid:
        return [], []
    segment = job.conf.segment
    source = open_sources({EVERYTHING: [Path(path) for path in job.valid]}, segment.seq_len)[EVERYTHING]
    wanted = min(max(1, job.conf.valid_tokens // segment.seq_len), source.blocks)
    chosen = np.unique(np.linspace(0, source.blocks - 1, wanted).astype(np.int64))
    return [source], [(0, int(block)) for block in chosen]


def make_trainer(job: Job, place: Place) -> Trainer:
    """Data, network and optimizer, with weights, moments and place in the data of the segment before, if any."""
    conf, start = job.conf, Path(job.start) if job.start else None
    sources = open_training(job)
    counts = apportion(conf.segment.mixture or {EVERYTHING: 1.0}, conf.segment.sequences)
    order = Order(
        sizes=tuple(source.blocks for source in sources.values()),
        counts=tuple(counts[name] for name in sources),
        seed=conf.seed,
        start=(0,) * len(sources),
        names=tuple(sources),
        seq_len=conf.segment.seq_len,
        packing=conf.segment.packing,
    )
    file = next(iter(sources.values())).files[0]
    network = model.build(conf.model, file.vocab_size, file.eos_id, conf.segment.seq_len, conf.seed)
    if start:
        order = order.after(export.read_state(start)["loader"])
        export.load_weights(network, start)
    trainer = Trainer(conf, place, network, list(sources.values()), order)
    if start:
        export.load_moments(trainer, start)
    return trainer
