"""What one fine-tuning trains: the one file that its processes read."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

from conf.schema.finetune import FinetuneRun, TuneConf
from conf.schema.pretrain import OptimizerConf
from tasks.training.job import Job


@dataclass(frozen=True)
class TuneBudget:
    """For how long is trained, at which rates."""

    lengths: tuple[int, ...]
    """Tokens of the examples, in the order in which they are trained on."""
    batch_size: int
    peak_lr: float
    warmup: float
    patience: int | None
    schedule: str = "cosine"
    decay: float = 0.0
    final_lr: float = 0.0
    ema: float | None = None

    @property
    def steps(self) -> int:
        """Optimizer steps, the last one perhaps of fewer examples."""
        return -(-len(self.lengths) // self.batch_size)

    @property
    def export(self) -> str:
        """Where training ends early, the best weights are the model."""
        return "last" if self.patience is None else "best"

    @cached_property
    def _ends(self) -> list[int]:
        ends = [0]
        for length in self.lengths:
            ends.append(ends[-1] + length)
        return ends

    def tokens_after(self, step: int) -> int:
        """Tokens that the first `step` steps read, padding not counted."""
        return self._ends[min(step * self.batch_size, len(self.lengths))]


@dataclass(frozen=True)
class Tuning:
    """Fine-tuning as the training loop sees it."""

    segment: TuneBudget
    optimizer: OptimizerConf
    seed: int
    eval_interval: int
    run: FinetuneRun

    @classmethod
    def of(cls, conf: TuneConf, lengths: tuple[int, ...], patience: int | None) -> Self:
        """By the options, for examples of these lengths; AdamW with the moments of its paper."""
        assert conf.learning_rate != "auto"
        budget = TuneBudget(lengths, conf.batch_size, conf.learning_rate, conf.warmup, patience)
        optimizer = OptimizerConf(beta2=0.999, weight_decay=conf.weight_decay, clip=conf.max_grad_norm)
        return cls(budget, optimizer, conf.seed, conf.eval_every, conf.run)


@dataclass(frozen=True)
class TuneJob(Job):
    """What to tune, on what."""

    conf: TuneConf
    build: str
    """MODULE:FUNCTION that makes network, loss and collation: see `tuning.Build`."""
    model: str
    """The folder of what it starts from."""
    about: dict[str, Any]
    """What the function is to know beside."""
    patience: int | None
    """Looks at the valid part without a lower loss after which training ends; None: never."""
    worker: ClassVar[str] = "tasks.finetune.tune_worker"

    @property
    def examples(self) -> Path:
        """The folder of the encoded examples."""
        return self.work.scratch / "examples"

    @property
    def trained(self) -> Path:
        """The weights that were trained, by their names, once it is done."""
        return self.work.scratch / "trained.safetensors"

    @classmethod
    def conf_of(cls, raw: dict[str, Any]) -> TuneConf:
        """The options that all kinds share, in a job as JSON."""
        return TuneConf.model_validate(raw["conf"])
