from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.errors import StepError
from tasks.core.workdir import Workdir
from tasks.finetune.trainer_callbacks import Interrupt, Report, best_step, is_stalled


def history(losses: list[float]) -> list[dict[str, Any]]:
    return [{"step": 10 * n, "eval_loss": loss} for n, loss in enumerate(losses, start=1)]


def test_the_best_step_is_the_first_of_the_lowest_losses() -> None:
    assert best_step([{"step": 5, "loss": 0.1}, *history([3.0, 1.0, 2.0, 1.0])]) == 20


@given(st.lists(st.floats(0, 10), min_size=1, max_size=12), st.integers(1, 5))
def test_training_stalls_exactly_when_the_last_evaluations_bring_no_new_minimum(
    losses: list[float], patience: int
) -> None:
    since_best = len(losses) - 1 - losses.index(min(losses))
    assert is_stalled(history(losses), patience) == (since_best >= patience)
    assert not is_stalled(history(losses), None)


def report(work: Workdir, step: int, **logs: float) -> None:
    state = SimpleNamespace(global_step=step, max_steps=100)
    Report(work, 4).on_log(None, state, None, logs=logs)  # type: ignore[arg-type]


def test_a_resumed_run_repeats_no_point_of_any_curve(tmp_path: Path) -> None:
    work = Workdir(tmp_path)
    work.make()
    report(work, 10, loss=2.0)
    report(work, 10, loss=2.0)
    report(work, 10, eval_loss=1.5)
    with work.metrics_file.open("a") as file:
        file.write('{"step": 20, "lo')
    report(work, 20, loss=1.0)
    rows = [json.loads(line) for line in work.metrics_file.read_text().splitlines()]
    assert [(row["step"], row.get("loss"), row.get("valid_loss")) for row in rows] == [
        (10, 2.0, None),
        (10, None, 1.5),
        (20, 1.0, None),
    ]


def test_a_loss_that_is_not_a_number_ends_the_step_with_a_fix(tmp_path: Path) -> None:
    with pytest.raises(StepError, match="learning_rate"):
        report(Workdir(tmp_path), 3, loss=float("nan"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_is_noted_inside_and_the_old_handler_is_back_afterwards(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    interrupt = Interrupt()
    with interrupt.caught():
        os.kill(os.getpid(), number)
    assert interrupt.received and signal.getsignal(number) is before
