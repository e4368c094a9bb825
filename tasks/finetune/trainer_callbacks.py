"""What a training run tells while it runs, and when it stops: callbacks of transformers' Trainer."""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tasks.core.errors import StepError
from tasks.core.events import Event, result, tell
from tasks.core.number_format import ahead
from tasks.core.workdir import Workdir
from tasks.finetune import checkpoints

NAMES = {"loss": "loss", "grad_norm": "grad_norm", "learning_rate": "learning_rate", "eval_loss": "valid_loss"}


class Interrupt:
    """Whether SIGTERM, SIGUSR1 or SIGINT has come: `with interrupt.caught(): …`."""

    def __init__(self) -> None:
        self.received = False

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Note the signals instead of dying of them. Handlers can only be set in a process's main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {
            number: signal.signal(number, self._note) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
        }
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = True


def valid_losses(history: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
    """(step, loss on the valid part) of each evaluation in a Trainer's log history."""
    return [(int(row["step"]), float(row["eval_loss"])) for row in history if "eval_loss" in row]


def best_step(history: Sequence[Mapping[str, Any]]) -> int | None:
    """The step with the lowest valid loss, the first of equals; None before the first evaluation."""
    losses = valid_losses(history)
    return min(losses, key=lambda pair: pair[1])[0] if losses else None


def is_stalled(history: Sequence[Mapping[str, Any]], patience: int | None) -> bool:
    """Whether the last `patience` evaluations have brought nothing better. A pure function of the history, which
    every checkpoint holds, so that early stopping survives a restart."""
    losses = [loss for _, loss in valid_losses(history)]
    return patience is not None and bool(losses) and len(losses) - 1 - losses.index(min(losses)) >= patience


class Guard(TrainerCallback):
    """Seals checkpoints, stops early, and stops on a signal with a checkpoint saved."""

    def __init__(self, root: Path, work: Workdir, interrupt: Interrupt, patience: int | None) -> None:
        self.root, self.work, self.interrupt, self.patience = root, work, interrupt, patience

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        # An evaluation that is due now is still made: it draws random numbers and counts for the early stop, and a
        # resumed run would not make it again.
        if self.interrupt.received:
            control.should_save = control.should_training_stop = True

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        if self.patience is not None:
            control.should_save = True
            control.should_training_stop |= is_stalled(state.log_history, self.patience)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        checkpoints.seal(self.root / f"checkpoint-{state.global_step}")
        self.work.progress = state.global_step
        steps = sorted(checkpoints.step_of(folder) for folder in self.root.glob("checkpoint-*"))
        best = best_step(state.log_history) if self.patience is not None else None
        checkpoints.prune(self.root, {*steps[-2:], *([best] if best is not None else [])})


class Report(TrainerCallback):
    """Sends losses to the work directory's metrics, no point twice, and tells now and then how far it is."""

    def __init__(self, work: Workdir, batch_size: int, model: str = "NAME") -> None:
        """`model` is the name in the recipe."""
        self.work, self.batch_size, self.model = work, batch_size, model
        self.logged = _last_steps(work.metrics_file)
        self.started, self.first_step = 0.0, 0

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, *rest: Any, **kwargs: Any) -> None:
        self.started, self.first_step = time.monotonic(), state.global_step

    def on_log(self, args: TrainingArguments, state: TrainerState, *rest: Any, **kwargs: Any) -> None:
        values = {NAMES[name]: float(value) for name, value in kwargs["logs"].items() if name in NAMES}
        for name, value in values.items():
            if not math.isfinite(value):
                raise StepError(
                    f"{name} is {value} at step {state.global_step}: lower models.{self.model}.train.learning_rate or "
                    f"models.{self.model}.train.max_grad_norm"
                )
        if not values:
            return
        rate = (state.global_step - self.first_step) / max(time.monotonic() - self.started, 1e-9)
        if "loss" in values:
            values["examples_per_second"] = rate * self.batch_size
        self._print(state, values, rate)
        fresh = {name: value for name, value in values.items() if self.logged.get(name, -1) < state.global_step}
        if fresh:
            self.work.log_metrics(fresh, step=state.global_step)

    def _print(self, state: TrainerState, values: Mapping[str, float], rate: float) -> None:
        if "valid_loss" in values:
            result(f"step {state.global_step}/{state.max_steps}  valid loss {values['valid_loss']:.4f}")
        elif "loss" in values and rate > 0:
            left, loss = (state.max_steps - state.global_step) / rate, f"loss {values['loss']:.4f}"
            speed = f"{values['examples_per_second']:.0f} examples/s"
            print(
                f"step {state.global_step}/{state.max_steps}  {loss}  {speed}  left {ahead(left)}",
                flush=True,
            )
            text = f"{speed}  {loss}"
            tell(Event("progress", state.global_step, state.max_steps, "step", rate, left, text))


def _last_steps(path: Path) -> dict[str, int]:
    """Up to which step each metric has been logged; a torn last line does not count."""
    last: dict[str, int] = {}
    for line in path.read_bytes().split(b"\n")[:-1] if path.exists() else []:
        row = json.loads(line)
        for name in row.keys() - {"step", "time"}:
            last[name] = max(last.get(name, -1), row["step"])
    return last
