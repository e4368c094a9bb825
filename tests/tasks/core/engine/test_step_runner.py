"""What a task does, apart from its child process."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tasks.core.engine.step_runner import StepRunner
from tasks.core.engine.workspace import Job, Outcome
from tasks.core.step import Call, effect
from tests.toy_run import Quiet


def announce(conf: None, work: Any) -> dict[str, Any]:
    raise AssertionError("it is done already")


def test_an_effect_that_is_done_already_takes_no_lease() -> None:
    def lock(*_: Any, **__: Any) -> None:
        raise AssertionError("nothing is to be made")

    step = effect(check=lambda conf: {"version": 3})(announce)
    engine: Any = SimpleNamespace(store=SimpleNamespace(lock=lock), report=Quiet())
    job = Job(Call(step, ()), "key", {}, Outcome("announce", None))
    assert StepRunner(engine).effect(job, "", print) == ("Cached", "already done")
    assert job.result == {"version": 3} and job.outcome.attempts == 0
