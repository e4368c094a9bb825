"""Fine-tuning: from encoded examples to trained weights, killed anywhere with the same end."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from transformers.utils import logging

from conf.schema.finetune import TuneConf
from tasks.core.errors import KINDS, ConfigError, StepError
from tasks.core.workdir import Workdir
from tasks.finetune import examples
from tasks.finetune.examples import Collate, Row
from tasks.finetune.tune_job import TuneJob
from tasks.finetune.tune_loop import TuneLoop
from tasks.training.cluster.torchrun import launch
from tasks.training.network.model import LossModule
from tasks.training.planning.hardware import on_cpu
from tasks.training.trainer.loop import train
from tasks.training.trainer.worker import sort_error

Build = Callable[[Path, dict[str, Any]], tuple[LossModule, Collate]]
"""Network with its loss, and what makes arrays of examples, from the folder of what it starts from and what is known
beside: the same on every call and process. A function of a module, for it is called by others by its name."""


@dataclass(frozen=True)
class Outcome:
    """How a training ended."""

    steps: int
    best_step: int
    """Whose weights were taken: the last one, or with a patience the one with the lowest loss on the valid part."""
    valid_loss: float
    """There, in nats per label."""
    weights: Path
    """The weights that were trained, by their names in the network."""

    def load_into(self, network: Any) -> None:
        """Fill a network, built as for training, with what was trained of it."""
        network.load_state_dict(load_file(self.weights), strict=False)


def set_up(conf: TuneConf) -> bool:
    """Fix seeds, threads and kernels; returns whether to train on a GPU. Raises `ConfigError` if there is none."""
    on_gpu = conf.run.device != "cpu" and torch.cuda.is_available()
    if conf.run.device == "cuda" and not on_gpu:
        raise ConfigError(
            f"fine-tuning is to run on cuda, and this machine shows no GPU: set {conf.run.option}.device=cpu"
        )
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.set_num_threads(conf.run.threads)
    seed(conf)
    torch.use_deterministic_algorithms(not on_gpu)
    return on_gpu


def seed(conf: TuneConf) -> None:
    """Seed all generators of this process, before new weights are drawn."""
    random.seed(conf.seed)
    np.random.seed(conf.seed % 2**32)
    torch.manual_seed(conf.seed)


def tune(
    build: Build,
    model: Path,
    rows: Sequence[Row],
    valid: Sequence[Row],
    conf: TuneConf,
    work: Workdir,
    about: Mapping[str, Any] | None = None,
    patience: int | None = None,
) -> Outcome:
    """Train from the newest whole checkpoint in `work.scratch`, or from the start, to the end.

    The order of examples, the early stop (after `patience` looks without a better loss; None: never) and all random
    numbers follow from the checkpoint alone. Raises `ChildKilled` when interrupted, a checkpoint saved.
    """
    shared = TuneConf.model_validate({name: getattr(conf, name) for name in TuneConf.model_fields})
    place = f"{build.__module__}:{build.__name__}"
    job = TuneJob(shared, place, str(model), dict(about or {}), patience, root=str(work.root))
    for part, found in (("train", rows), ("valid", valid)):
        examples.write(job.examples, part, found)
    # One process on the CPU needs nobody who starts and watches it; it would only load torch twice.
    alone = conf.run.processes == 1 and on_cpu(conf.run.device)
    stats = _here(job) if alone else launch(job)
    return Outcome(stats["steps"], stats["best_step"], stats["valid_loss"], job.trained)


def _here(job: TuneJob) -> dict[str, Any]:
    """Train in this process; raises as `launch`."""
    try:
        status = train(job, TuneLoop)
    except Exception as error:
        ours = sort_error(error, job.conf.run)
        if ours is error:
            raise
        raise ours from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
    assert status is not None
    if not status["ok"]:
        raise KINDS.get(status["kind"], StepError)(status["message"])
    found: dict[str, Any] = status["stats"]
    return found
