"""The record of a run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conf.compose import compose
from flows.runs.record import record_of
from tasks.core.engine.workspace import Outcome
from tasks.views.report import cost_section
from tasks.views.run_data import gather
from tests.tasks.views.small_run import Made


def test_the_cost_of_a_run_is_that_of_its_report_steps_without_an_artifact_included(tmp_path: Path) -> None:
    made = Made(tmp_path)
    trained = made.add("pretrain", seconds=3600.0)
    outcomes = [
        Outcome("pretrain", None, "completed", trained.key, trained.digest, 3600.0, 1),
        Outcome("register_model", None, "completed", seconds=1800.0, attempts=1),
        Outcome("promote_model", None, "failed", seconds=1800.0, attempts=1),
    ]
    engine: Any = SimpleNamespace(
        outcomes=outcomes, store=made.store, home=tmp_path, run_id="r", run_name="demo-1", git={}
    )
    planned: Any = SimpleNamespace(rows=[])
    record = record_of(compose("demo", ("engine.price_per_core_hour=1",)), engine, planned, "failed", 0.0)
    assert record["cost"] == pytest.approx(2 * 1.0 + 2 * 0.5), "two cores for an hour, one each for half an hour"
    assert record["cost"] == cost_section.total(cost_section.efforts(gather(made.store, "r", record))).cost
    assert record_of(compose("demo"), engine, planned, "failed", 0.0)["cost"] is None
