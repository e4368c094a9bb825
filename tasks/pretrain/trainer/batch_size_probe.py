"""The largest micro-batch that fits: found before the first step, and kept as long as the work directory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist

from tasks.core.artifact import canonical
from tasks.core.errors import HostError
from tasks.core.small_files import write_atomically
from tasks.pretrain.data.packed_data import PackedData
from tasks.pretrain.estimate import memory
from tasks.pretrain.pretrain_job import PretrainJob
from tasks.training.planning.out_of_memory import lacks_device_memory, out_of_memory
from tasks.training.trainer.trainer import Trainer

SPARED = 0.08
"""Share of the memory that is left alone: training has some sizes that a probe does not see."""


def kept_file(job: PretrainJob) -> Path:
    """Where the micro-batch that was found is kept, for whoever goes on."""
    return job.work.scratch / "micro_batch.json"


def micro_batch(
    job: PretrainJob, trainer: Trainer, data: PackedData, free_gb: float, say: Callable[[str], None]
) -> int:
    """The micro-batch to train with: the one of the config unless `pretrain.run.auto_micro_batch` is set; the same
    everywhere.

    `free_gb` is the memory that was free before the trainer took any, which is what counts on a CPU. Raises
    `HostError` if a single sequence does not fit.
    """
    if not job.conf.run.auto_micro_batch:
        return job.conf.run.micro_batch
    place, path = trainer.place, kept_file(job)
    kept = torch.tensor(int(json.loads(path.read_bytes())["micro_batch"]) if path.exists() else 0)
    dist.broadcast(kept, 0)  # other nodes may not see the file
    if found := int(kept):
        say(f"micro-batch {found}, as found when this was begun")
        return found
    most = job.conf.segment.batch_tokens // job.conf.segment.seq_len // place.data_world
    on_gpu = place.device.type == "cuda"
    fits = (lambda size: tried(trainer, data, size)) if on_gpu else (lambda size: foreseen(job, size, free_gb))
    found = agreed(largest(most, fits))
    if not found:
        what = "the device's memory" if on_gpu else "memory"
        run = job.conf.run.model_copy(update={"micro_batch": 1})
        raise HostError(
            f"pretrain.run.auto_micro_batch: not even one sequence fits; {out_of_memory(what, run, cuda=on_gpu)}"
        )
    if place.rank == 0:
        write_atomically(path, canonical({"micro_batch": found}))
    if place.compile:  # else training would go on with code for many shapes
        torch._dynamo.reset()
    say(f"micro-batch {found} is the largest that fits, of {most} sequences that each process has in a step")
    return found


def agreed(size: int) -> int:
    """The least of what all processes have."""
    least = torch.tensor(size, dtype=torch.int64)
    dist.all_reduce(least, dist.ReduceOp.MIN)
    return int(least)


def largest(most: int, fits: Callable[[int], bool]) -> int:
    """The largest power of two up to `most` that fits, where all smaller ones do; 0 if none does."""
    found, size = 0, 1
    while size <= most and fits(size):
        found, size = size, 2 * size
    return found


def foreseen(job: PretrainJob, size: int, free_gb: float) -> bool:
    """Whether all processes of this machine together are expected to fit into the memory that is free.

    Where the architecture's need is not known, what the config asks for counts as what fits.
    """
    run = job.conf.run.model_copy(update={"micro_batch": size})
    held = memory(job.conf.model_copy(update={"run": run}), job.vocab_size, gpu=False)
    if held is None:
        return size <= job.conf.run.micro_batch
    return run.processes * sum(held.values()) / 1e9 <= (1 - SPARED) * free_gb


def tried(trainer: Trainer, data: PackedData, size: int) -> bool:
    """Whether a forward and a backward pass of so many sequences fit on all devices; nothing of it remains.

    Written for CUDA, where it has not been run yet. All processes do the same; if only one of several runs out of
    memory inside a collective, the others wait for it until the group's timeout ends the attempt.
    """
    cuda = trainer.place.device.type == "cuda"
    if cuda:
        torch.cuda.set_per_process_memory_fraction(1 - SPARED, trainer.place.device)
    before = {name: value.clone() for name, value in trainer.tensors().items() if "rng." in name}
    try:
        trainer.rehearse(data.some(size))
        fits = 1
    except RuntimeError as error:
        if not lacks_device_memory(error):
            raise
        fits = 0
    trainer.optimizer.zero_grad()
    trainer.set_rng(before)
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(1.0, trainer.place.device)
        torch.cuda.reset_peak_memory_stats(trainer.place.device)
    return agreed(fits) > 0
