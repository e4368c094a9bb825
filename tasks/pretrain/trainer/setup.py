"""From a job to a trainer that stands before its first step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from conf.schema.pretrain import PretrainConf
from tasks.core.errors import ConfigError
from tasks.formats.tokens import IGNORE
from tasks.pretrain.data import mixture, objective, vocabulary
from tasks.pretrain.data.batches import Order, Passes, Source, open_sources
from tasks.pretrain.data.packed_data import PackedData, Picks
from tasks.pretrain.estimate import refuse_if_too_large
from tasks.pretrain.network import document_masking
from tasks.pretrain.network.denoising import LOSS_MODULES
from tasks.pretrain.pretrain_job import PretrainJob
from tasks.pretrain.trainer import segment_export
from tasks.pretrain.trainer.warm_start import refuse_other_network
from tasks.training.network import model, tensor_parallel
from tasks.training.network.device import Place
from tasks.training.trainer.trainer import Trainer

EVERYTHING = "all"
"""The one source of a segment without a mixture."""


def open_training(job: PretrainJob) -> dict[str, Source]:
    """The sources of the mixture by name, or one of everything; raises `ConfigError` for an unknown source."""
    segment = job.conf.segment
    shape = (segment.seq_len, segment.packing)
    option, wanted = ("mixture", segment.mixture) if segment.epochs is None else ("epochs", segment.epochs)
    if wanted is None:
        return open_sources({EVERYTHING: [Path(path) for paths in job.train.values() for path in paths]}, *shape)
    if unknown := sorted(set(wanted) - set(job.train)):
        raise ConfigError(
            f"pretrain.segments.{job.conf.run.segment}.{option} names {unknown}, but the sources are "
            f"{sorted(job.train)}: write {option} of those"
        )
    return open_sources({name: [Path(path) for path in job.train[name]] for name in sorted(wanted)}, *shape)


def order_of(sources: dict[str, Source], conf: PretrainConf) -> Order:
    """The order in which a segment reads its sources.

    Raises `ConfigError` if its tokens are more than its epochs, or too few for a source of its mixture.
    """
    segment, option = conf.segment, f"pretrain.segments.{conf.run.segment}"
    read: dict[str, Any] = {
        "sizes": tuple(source.blocks for source in sources.values()),
        "seed": conf.seed,
        "names": tuple(sources),
        "seq_len": segment.seq_len,
        "packing": segment.packing,
        "sequences": segment.sequences,
    }
    sequences = segment.units(segment.steps) * segment.sequences
    if segment.epochs is None:
        counts = mixture.shares(segment.mixture or {EVERYTHING: 1.0})
        order = Order(counts=tuple(counts[name] for name in sources), start=(0,) * len(sources), **read)
        for name, given in order.record(segment.units(segment.steps))["taken"].items():
            if not given:
                raise ConfigError(
                    f"{option}.mixture: {name}={(segment.mixture or {})[name]} is less than one of the segment's "
                    f"{sequences:,} sequences: raise {option}.mixture.{name} or {option}.tokens, or leave it out"
                )
        return order
    blocks = tuple(max(1, round(segment.epochs[name] * source.blocks)) for name, source in sources.items())
    passes = Passes(counts=blocks, start=(0,), **read)
    if sequences > passes.total:
        most = passes.total // segment.sequences * segment.sequences * segment.seq_len
        raise ConfigError(
            f"{option}.tokens={segment.tokens:,} is more than {option}.epochs gives of these sources, {most:,} tokens "
            f"in whole batches: lower {option}.tokens, or raise {option}.epochs"
        )
    return passes


def choose_valid(job: PretrainJob) -> tuple[list[Source], Picks]:
    """The valid tokens as one source, concatenated whatever the segment's packing, and a fixed choice of its blocks,
    spread evenly; both empty without any."""
    if not job.valid:
        return [], []
    segment = job.conf.segment
    source = open_sources({EVERYTHING: [Path(path) for path in job.valid]}, segment.seq_len)[EVERYTHING]
    wanted = min(max(1, job.conf.eval_tokens // segment.seq_len), source.blocks)
    chosen = np.unique(np.linspace(0, source.blocks - 1, wanted).astype(np.int64))
    return [source], [(0, int(block)) for block in chosen]


def bits_per_byte(job: PretrainJob, valid: Sequence[Source], picks: Picks) -> float | None:
    """What the valid loss, in nats per token, is multiplied by to be bits per byte of the text.

    None without valid tokens, for a network that does not continue text, and for a tokenizer that is not on bytes.
    """
    if not picks or job.conf.model.resolved_objective != "causal":
        return None
    lengths = vocabulary.byte_lengths(Path(job.tokenizer), job.vocab_size)
    if lengths is None:
        return None
    labels = valid[0].batch([block for _, block in picks])[-1]
    labels = labels[labels != IGNORE]
    size = int(lengths[labels].sum())
    return len(labels) / size / math.log(2) if size else None


def refuse_if_uneven(conf: PretrainConf, place: Place) -> None:
    """Raise `ConfigError` if the processes cannot share a batch evenly."""
    sequences, segment = conf.segment.sequences, f"pretrain.segments.{conf.run.segment}"
    if sequences % place.data_world:
        option = f"{segment}.{'first_batch_tokens' if conf.segment.first_batch_tokens else 'batch_tokens'}"
        raise ConfigError(
            f"{option}={sequences * conf.segment.seq_len} makes {sequences} sequences, which {place.data_world} "
            f"processes cannot share evenly: change {option}, {segment}.seq_len or pretrain.run.processes"
        )


def make_trainer(job: PretrainJob, place: Place) -> Trainer:
    """Data, network and optimizer, with weights, moments and place in the data of what it starts from, if anything.

    Raises `HostError` if they will not fit into the GPU of this process (which has not been run yet).
    """
    conf, start = job.conf, Path(job.start) if job.start else None
    sources = open_training(job)
    order = order_of(sources, conf)
    file, seq_len = next(iter(sources.values())).files[0], conf.segment.seq_len
    aim = objective.choose(conf.model, conf.seed, seq_len, Path(job.tokenizer), file.vocab_size, file.eos_id)
    if place.device.type == "cuda":
        refuse_if_too_large(conf, file.vocab_size, torch.cuda.get_device_properties(place.device).total_memory / 1e9)
    network = model.build(conf.model, file.vocab_size, file.eos_id, seq_len, conf.seed, aim.pad)
    document_masking.refuse_if_leaking(network, conf.model)
    if start:
        order = order.after(segment_export.read_state(start).get("loader", {}))
        refuse_other_network(network, start, conf.run.segment)
        segment_export.load_weights(network, start)
    refuse_if_uneven(conf, place)
    tensor_parallel.refuse_if_indivisible(network, conf)
    loss_module = LOSS_MODULES[conf.model.resolved_objective](
        network, conf.optimizer.z_loss > 0, conf.segment.label_smoothing
    )
    data = PackedData(conf.segment, list(sources.values()), order, aim, *choose_valid(job))
    trainer = Trainer(conf, place, loss_module, data)
    if start:
        segment_export.load_moments(trainer, start)
    return trainer
