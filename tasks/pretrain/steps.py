"""The door of the pretraining room."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from conf.schema.pretrain import PretrainConf, PretrainRun
from tasks.core.artifact import Artifact
from tasks.core.errors import HostError
from tasks.core.step import Cpu, Retry, Stats, Workdir, step


def _folders(tokens: Iterable[Artifact]) -> tuple[dict[str, list[str]], list[str]]:
    """Training folders by source (the shard's name without its number), and valid folders that hold tokens."""
    train: dict[str, list[str]] = {}
    valid: list[str] = []
    for shard in tokens:
        train.setdefault(re.sub(r"-\d+$", "", shard.shard or "all"), []).append(str(shard / "train"))
        if (shard / "valid" / "tokens.bin").exists() and (shard / "valid" / "tokens.bin").stat().st_size:
            valid.append(str(shard / "valid"))
    return train, valid


def foretell(tokens: Any, tokenizer: Any, start: Any, conf: PretrainConf) -> dict[str, float]:
    """Tokens, parameters, FLOPs, memory and checkpoint size for the plan; tokens only if no vocabulary is foretold.

    Raises `ConfigError` for a network that cannot be built, `HostError` for one that cannot be trained on this machine.
    """
    from tasks.pretrain.estimate import estimate, refuse_if_too_large
    from tasks.pretrain.feasible import refuse_if_impossible

    refuse_if_impossible(conf.model)
    vocab_size = tokenizer.stats.get("vocab_size")
    if vocab_size is None:
        return {"tokens": conf.segment.tokens_after(conf.segment.steps)}
    refuse_if_too_large(conf, int(vocab_size))
    return {name: value for name, value in estimate(conf, vocab_size).items() if value is not None}


def check_device(run: PretrainRun) -> None:
    """Raise `HostError` (or `ConfigError`) if this machine lacks what training asks for; a plan may do without."""
    from tasks.pretrain.demands import refuse_without
    from tasks.pretrain.estimate import on_cpu, shows_a_gpu

    if run.device == "cuda" and not shows_a_gpu():
        raise HostError(
            "pretrain.run.device=cuda, and this machine shows no GPU: run it on one that has, stop before it "
            "(--until check_tokens), or give pretrain.run.device=cpu"
        )
    refuse_without(run, cuda=not on_cpu(run.device))


@step(
    version="1", track=True, estimate=foretell, resources=Cpu(2, memory_gb=4.0), retry=Retry(times=3),
    needs=("torch", "transformers", "safetensors", "numpy"),
)  # fmt: skip
def pretrain(
    tokens: tuple[Artifact, ...], tokenizer: Artifact, start: Artifact | None, conf: PretrainConf, work: Workdir
) -> Stats:
    """Train one segment.  shards of tokens (and the segment before) → model/ and state/; metrics kept beside."""
    from tasks.pretrain.estimate import refuse_if_too_large
    from tasks.pretrain.job import Job
    from tasks.pretrain.journal import skipped_file
    from tasks.pretrain.torchrun import launch

    train, valid = _folders(tokens)
    job = Job(conf, train, valid, str(tokenizer.path), str(start.path) if start else None, str(work.root))
    refuse_if_too_large(conf, job.vocab_size)
    stats = launch(job)
    for file in (work.metrics_file, skipped_file(work)):
        if file.exists():
            (work.aux / file.name).write_bytes(file.read_bytes())
    return stats
