"""A run of transformers' Trainer that can be killed anywhere and ends with the same weights."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from peft import PeftModel
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainingArguments
from transformers.utils import logging

from conf.schema.finetune import TuneConf
from tasks.core.errors import ChildKilled, ConfigError
from tasks.core.events import notice
from tasks.core.workdir import Workdir
from tasks.finetune import checkpoints
from tasks.finetune.trainer_callbacks import Guard, Interrupt, Report, best_step, is_stalled, valid_losses
from tasks.formats.tokens import IGNORE

Row = Mapping[str, Any]
"""One example: "input_ids" (a list of token ids) and "labels"."""
Collate = Callable[[Sequence[Row]], dict[str, torch.Tensor]]


class Loss(Protocol):
    """A loss of its own, the mean over what a batch weighs."""

    def __call__(self, outputs: Any, labels: torch.Tensor, num_items_in_batch: Any = None) -> torch.Tensor: ...

    def weight(self, labels: torch.Tensor) -> torch.Tensor:
        """What a batch weighs: the divisor of its mean."""
        ...


MEGABATCH = 16
"""Batches that are sorted by length together: little padding, and still a random order."""


@dataclass(frozen=True)
class Outcome:
    """How a training run ended: its steps, the checkpoint to take, and the (step, valid loss) pairs on the way."""

    steps: int
    chosen: Path
    valid: list[tuple[int, float]]

    @property
    def valid_loss(self) -> float:
        """Loss on the valid part at the chosen checkpoint, or at the last evaluation before it."""
        step = checkpoints.step_of(self.chosen)
        return [loss for at, loss in self.valid if at <= step][-1]


class Measured(Trainer):
    """A Trainer whose loss on the valid part is the mean over all tokens that carry one, or examples by their weights.

    The Trainer's own is a mean of batches' means, which depends on what is in a batch together."""

    own: Loss | None = None

    def evaluation_loop(self, *args: Any, **kwargs: Any) -> Any:
        self._sums = torch.zeros(2, dtype=torch.float64)
        output = super().evaluation_loop(*args, **kwargs)
        metrics = {**(output.metrics or {}), "eval_loss": float(self._sums[0] / self._sums[1])}
        return output._replace(metrics=metrics)

    def prediction_step(self, model: Any, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        labels = inputs["labels"]
        weight = self.own.weight(labels) if self.own else (labels[:, 1:] != IGNORE).sum()
        loss, logits, of = super().prediction_step(model, inputs, *args, **kwargs)
        assert loss is not None
        self._sums += torch.stack([loss.double().cpu() * weight.cpu(), weight.double().cpu()])
        return loss, logits, of


def set_up(conf: TuneConf) -> bool:
    """Fix seeds, threads and kernels; returns whether to train on a GPU. Raises `ConfigError` if there is none."""
    on_gpu = conf.run.device != "cpu" and torch.cuda.is_available()
    if conf.run.device == "cuda" and not on_gpu:
        raise ConfigError(
            "fine-tuning is to run on cuda, and this machine shows no GPU: set "
            f"models.{conf.run.model}.train.run.device=cpu"
        )
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    torch.set_num_threads(conf.run.threads)
    random.seed(conf.seed)
    np.random.seed(conf.seed % 2**32)
    torch.manual_seed(conf.seed)
    torch.use_deterministic_algorithms(not on_gpu)
    return on_gpu


def order(lengths: Sequence[int], conf: TuneConf) -> list[int]:
    """The order of examples over all epochs: shuffled, batches of like length, a short batch last.

    A pure function of its arguments: the loader's whole state is the number of steps done.
    """
    size = conf.batch_size
    shuffled = np.concatenate([_rng(conf, epoch).permutation(len(lengths)) for epoch in range(conf.epochs)])
    whole = len(shuffled) - len(shuffled) % size
    batches: list[list[int]] = []
    for start in range(0, whole, size * MEGABATCH):
        group = sorted(shuffled[start : min(start + size * MEGABATCH, whole)].tolist(), key=lambda i: lengths[i])
        parts = [group[at : at + size] for at in range(0, len(group), size)]
        batches += [parts[n] for n in _rng(conf, conf.epochs, start).permutation(len(parts))]
    return [i for batch in [*batches, shuffled[whole:].tolist()] for i in batch]


def _rng(conf: TuneConf, *path: int) -> np.random.Generator:
    return np.random.default_rng((conf.seed, *path))


def train(
    model: PreTrainedModel | PeftModel,
    rows: Sequence[Row],
    valid: Sequence[Row],
    collate: Collate,
    conf: TuneConf,
    work: Workdir,
    loss: Loss | None = None,
    patience: int | None = None,
) -> Outcome:
    """Train from the newest whole checkpoint in `work.scratch`, or from the start, to the end.

    The order of examples, the early stop (after `patience` evaluations without a better loss; None: never) and all
    random numbers follow from the checkpoint alone. Raises `ChildKilled` when interrupted, a checkpoint saved.
    """
    root = work.scratch / "checkpoints"
    root.mkdir(parents=True, exist_ok=True)
    start = checkpoints.newest(root)
    if start is None or not _is_finished(start, patience):
        interrupt = Interrupt()
        examples = [rows[i] for i in order([len(row["input_ids"]) for row in rows], conf)]
        trainer = Measured(
            model,
            _arguments(conf, root),
            data_collator=collate,
            train_dataset=examples,
            eval_dataset=valid,
            compute_loss_func=loss,
            callbacks=[Guard(root, work, interrupt, patience), Report(work, conf.batch_size, conf.run.model)],
        )
        trainer.own = loss
        trainer.remove_callback(PrinterCallback)
        if start is not None:
            notice(f"going on from {start.name}")
        with interrupt.caught():
            trainer.train(resume_from_checkpoint=str(start) if start else None)
        if interrupt.received:
            raise ChildKilled(f"interrupted at step {trainer.state.global_step}; the checkpoint is saved")
    return _outcome(root, patience)


def _is_finished(folder: Path, patience: int | None) -> bool:
    state = checkpoints.trainer_state(folder)
    return state["global_step"] >= state["max_steps"] or is_stalled(state["log_history"], patience)


def _outcome(root: Path, patience: int | None) -> Outcome:
    last = checkpoints.newest(root)
    if last is None:
        raise ChildKilled(f"{root} holds no whole checkpoint after training")
    state = checkpoints.trainer_state(last)
    step = best_step(state["log_history"]) if patience is not None else state["global_step"]
    return Outcome(state["global_step"], root / f"checkpoint-{step}", valid_losses(state["log_history"]))


def _arguments(conf: TuneConf, root: Path) -> TrainingArguments:
    on_gpu = set_up(conf)
    arguments = TrainingArguments(
        output_dir=str(root),
        num_train_epochs=1,
        per_device_train_batch_size=conf.batch_size,
        per_device_eval_batch_size=conf.batch_size,
        learning_rate=conf.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=conf.warmup,
        weight_decay=conf.weight_decay,
        max_grad_norm=conf.max_grad_norm,
        train_sampling_strategy="sequential",
        eval_strategy="steps",
        eval_steps=conf.eval_every,
        prediction_loss_only=True,
        logging_steps=conf.run.log_every,
        logging_nan_inf_filter=False,
        save_strategy="steps",
        save_steps=conf.run.checkpoint_steps,
        remove_unused_columns=False,
        seed=conf.seed,
        use_cpu=not on_gpu,
        bf16=on_gpu and torch.cuda.is_bf16_supported(),
        report_to="none",
        disable_tqdm=True,
        log_level="error",
    )
    # Several visible GPUs would make the Trainer wrap the model in DataParallel.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments
