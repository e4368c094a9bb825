"""The door of the pretraining room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from conf.schema.pretrain import PretrainConf, PretrainRun
from tasks.core.artifact import Artifact
from tasks.core.errors import HostError
from tasks.core.step import Cpu, Retry, Stats, step
from tasks.core.workdir import Workdir
from tasks.pretrain.epochs import warn_of_repeats


def foretell(tokens: Any, tokenizer: Any, start: Any, conf: PretrainConf) -> dict[str, float]:
    """Tokens, parameters, FLOPs, memory, checkpoint size and, on GPUs that are known, seconds for the plan; tokens only
    if no vocabulary is foretold.

    Raises `ConfigError` for a network that cannot be built, `HostError` for one that cannot be trained on this machine.
    """
    from tasks.pretrain.estimate import estimate, foretold_seconds, refuse_if_too_large
    from tasks.training.planning.feasible import refuse_if_impossible, refuse_if_unattended
    from tasks.training.planning.hardware import first_gpu

    refuse_if_impossible(conf.model)
    refuse_if_unattended(conf.model, conf.run.attention)
    vocab_size = tokenizer.stats.get("vocab_size")
    if vocab_size is None:
        return {"tokens": conf.segment.tokens_after(conf.segment.steps)}
    gpu = first_gpu()
    refuse_if_too_large(conf, int(vocab_size), gpu.memory_gb if gpu else None)
    found = estimate(conf, int(vocab_size))
    seconds = foretold_seconds(conf, found["flops"], gpu)
    if seconds is not None and gpu is not None:
        found |= {"seconds": seconds, "device_hours": round(seconds * conf.run.world / 3600, 4)}
        found["device_gb"] = round(gpu.memory_gb, 1)
    return {name: value for name, value in found.items() if value is not None}


def check_device(run: PretrainRun) -> None:
    """Raise `HostError` (or `ConfigError`) if this machine lacks what training asks for; a plan may do without."""
    from tasks.core.devices import shows_a_gpu
    from tasks.training.cluster.node_address import own_name
    from tasks.training.planning.hardware import on_cpu
    from tasks.training.planning.requirements import refuse_attention, refuse_without

    if run.device == "cuda" and not shows_a_gpu():
        raise HostError(
            "pretrain.run.device=cuda, and this machine shows no GPU: run it on one that has, stop before it "
            "(--until check_tokens), or give pretrain.run.device=cpu"
        )
    refuse_without(run, cuda=not on_cpu(run.device))
    refuse_attention(run, cuda=not on_cpu(run.device))
    if run.nodes > 1 and run.rendezvous is None:
        own_name()


@step(
    version="1", track=True, estimate=foretell, warns=warn_of_repeats, resources=Cpu(2, memory_gb=4.0),
    retry=Retry(times=3), needs=("torch", "transformers", "safetensors", "numpy"),
    joins="tasks.pretrain.steps:take_part",
)  # fmt: skip
def pretrain(
    tokens: tuple[Artifact, ...], tokenizer: Artifact, start: Artifact | None, conf: PretrainConf, work: Workdir
) -> Stats:
    """Train one segment.  shards of tokens (and the segment before) → model/ and state/; metrics kept beside."""
    from tasks.pretrain.estimate import refuse_if_too_large
    from tasks.pretrain.pretrain_job import PretrainJob, folder_of, refs
    from tasks.pretrain.trainer.warm_start import refuse_other_tokenizer
    from tasks.training.cluster.bucket_calls import share
    from tasks.training.cluster.torchrun import launch
    from tasks.training.trainer.training_log import samples_file, skipped_file

    job = PretrainJob.of(tokens, tokenizer, start, conf, work)
    refuse_if_too_large(conf, job.vocab_size)
    if start:
        refuse_other_tokenizer(folder_of(start), tokenizer.path, conf.run.segment)
    stats = launch(share(job, refs(tokens, tokenizer, start)))
    for file in (work.metrics_file, skipped_file(work), samples_file(work)):
        if file.exists():
            (work.aux / file.name).write_bytes(file.read_bytes())
    return stats


def take_part(say: Callable[[str], None], endpoint: str | None = None, key: str | None = None) -> None:
    """Take part in every training by several nodes that another machine starts on this store, until a signal comes;
    only in those that meet at `endpoint` (HOST:PORT) or make the artifact of that `key`, if it is given.
    """
    from tasks.core.store.lease import FileLease
    from tasks.core.store.open import bucket_of, open_store
    from tasks.pretrain.pretrain_job import PretrainJob
    from tasks.training.cluster.bucket_calls import BucketCalls
    from tasks.training.cluster.node import serve
    from tasks.training.cluster.node_address import FolderCalls

    store = open_store()
    if bucket_of(store) is not None:
        serve(BucketCalls(PretrainJob, store, pretrain.name, endpoint, key), say)
    else:
        serve(FolderCalls(PretrainJob, store.backend.open_work(pretrain.name, FileLease(0)).root, endpoint), say)
