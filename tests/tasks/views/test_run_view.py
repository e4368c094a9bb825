"""A run is put together once: what is drawn of it in three places is the same."""

from __future__ import annotations

import io
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tasks.core.engine.reporting import Run
from tasks.core.engine.workspace import Outcome
from tasks.views import run_verdict
from tasks.views.prefect import run_page
from tasks.views.report import page
from tasks.views.run_view import RunView
from tasks.views.terminal.summary import summarise
from tests.tasks.views.small_run import chain

WARNED = {"step": "pretrain", "shard": None, "text": "6.1 epochs", "option": "pretrain.max_epochs"}


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> RunView:
    made = chain(tmp_path_factory.mktemp("run"))
    config = {"models": {"base": {"register": {"name": "small-base"}, "evaluate": {"prompts": ["The"]}}}}
    record = made.record("refused", warnings=[WARNED], config=config)
    return RunView.recorded(made.store, "small", record)


def in_terminal(view: RunView) -> str:
    console = Console(file=io.StringIO(), width=400)
    summarise(console, view)
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def on_page(view: RunView) -> str:
    return run_page.summary(Run(Path("/home"), "demo", "abcdef", "small-2026"), "completed", view)


def in_report(view: RunView) -> str:
    return unescape(page.render(view))


@pytest.mark.parametrize("drawn", [in_terminal, on_page, in_report])
def test_each_rendering_shows_the_verdict_the_metric_the_way_and_the_warnings(view: RunView, drawn: Any) -> None:
    (model,) = view.models
    said = drawn(view).replace("\xa0", " ")
    assert "bits per byte 3.000 [2.900, 3.100]; the champion before 2.500" in run_verdict.sentence(model)
    assert view.way.startswith("Of ")
    for text in ("small-base version 2 was refused: bits per byte 3.000", view.way, "6.1 epochs"):
        assert text in said
    for name, value in model.baselines():
        assert name.replace("\xa0", " ") in said and str(value) in said
    assert "pretrain.max_epochs" in said


def test_a_run_looks_while_it_goes_on_as_it_does_in_its_record(view: RunView) -> None:
    outcomes = [
        Outcome(one.name, one.shard, one.state, one.key, one.manifest and one.manifest.digest, stats=dict(one.stats),
                message=one.message)
        for one in view.run.steps
    ]  # fmt: skip
    live = RunView.running(None, {name: view.run.record[name] for name in ("name", "state", "models")}, outcomes)
    assert live.verdict == view.verdict and live.way == view.way and live.other_measurements == view.other_measurements
    (before,), (after,) = view.models, live.models
    assert before.table() == after.table() and before.decision == after.decision


def test_the_samples_of_a_model_are_those_that_its_evaluation_keeps(view: RunView) -> None:
    (model,) = view.models
    assert [sample["how"] for sample in view.samples(model)] == ["greedy"]
    assert view.calibration(model)[0]["items"] == 4 and (view.confusion(model) or {})["matrix"] == [[3, 1], [0, 0]]
