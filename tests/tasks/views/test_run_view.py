"""A run is put together once: what is drawn of it in three places is the same."""

from __future__ import annotations

import io
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tasks.core.engine.reporting import Run
from tasks.core.engine.workspace import Outcome
from tasks.views import run_verdict
from tasks.views.lineage import ancestry
from tasks.views.prefect import run_page
from tasks.views.report import lineage_section, page
from tasks.views.run_view import RunView
from tasks.views.terminal import artifact_lines
from tasks.views.terminal.summary import summarise
from tests.tasks.views.small_run import chain

WARNED = {"step": "pretrain", "shard": None, "text": "6.1 epochs", "option": "pretrain.max_epochs"}


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> RunView:
    made = chain(tmp_path_factory.mktemp("run"))
    sources = {"s": {"kind": "files"}}
    config = {
        "data": {"sources": sources},
        "models": {"base": {"register": {"name": "small-base"}, "evaluate": {"prompts": ["The"]}}},
    }
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
                inputs=one.manifest and one.manifest.inputs, message=one.message)
        for one in view.run.steps
    ]  # fmt: skip
    known = {name: view.run.record[name] for name in ("name", "state", "models", "config")}
    live = RunView.running(None, known, outcomes)
    assert live.verdict == view.verdict and live.way == view.way and live.other_measurements == view.other_measurements
    (before,), (after,) = view.models, live.models
    assert before.table() == after.table() and before.decision == after.decision
    assert edges(live) == edges(view) != set()


def edges(view: RunView) -> set[tuple[str, str]]:
    """What was made from what, by titles."""
    return {(before.title, node.title) for node in view.lineage for before in node.inputs}


def edges_on_page(view: RunView) -> set[tuple[str, str]]:
    rows = re.findall(r"^\| `(.*?)` \| .* \| (.*?) \|$", on_page(view).partition("## Lineage")[2], re.M)
    return {(before, title) for title, inputs in rows for before in re.findall(r"`(.*?)`", inputs)}


def edges_in_report(view: RunView) -> set[tuple[str, str]]:
    said = in_report(view)
    titles = dict(re.findall(r'<g class="node \w+" id="(n-\d+)".*?<text class="title".*?>(.*?)</text>', said))
    return {(titles[a], titles[b]) for a, b in re.findall(r'class="wire" data-from="(.*?)" data-to="(.*?)"', said)}


def edges_in_terminal(view: RunView, start: str) -> set[tuple[str, str]]:
    """By how far the lines are indented."""
    (manifest,) = view.run.of(start)
    assert view.run.store is not None
    found, above = set(), list[str]()
    for line in artifact_lines.lineage(ancestry(view.run.store, manifest)):
        depth, name = (len(line) - len(line.lstrip())) // 2, re.split(r"[\[ ]", line.strip())[0]
        above[depth:] = [name]
        found |= {(name, above[depth - 1])} if depth else set()
    return found


def test_page_report_and_terminal_show_the_same_lineage(view: RunView) -> None:
    whole = edges(view)
    assert {("s", "fetch_shard"), ("train_tokenizer", "pretrain"), ("gate", "small-base v2")} <= whole
    assert edges_on_page(view) == edges_in_report(view) == whole
    before = {"gate"}
    while more := {made_from for made_from, made in whole if made in before} - before:
        before |= more
    steps = {step.name for step in view.run.steps}
    assert edges_in_terminal(view, "gate") == {edge for edge in whole if edge[1] in before and edge[0] in steps}


def test_what_an_earlier_run_made_is_told_apart_and_what_is_gone_is_not_looked_for_before_it_is_drawn(
    tmp_path: Path,
) -> None:
    made = chain(tmp_path)
    (old,) = [step for step in made.steps if step["step"] == "train_tokenizer"]
    made.steps.remove(old)
    view = RunView.recorded(made.store, "small", made.record("refused"))
    assert {node.title: node.state for node in view.lineage}["train_tokenizer"] == "of an earlier run"
    made.store.forget("train_tokenizer", old["key"])
    view = RunView.recorded(made.store, "small", made.record("refused"))
    kinds = {box.title: box.kind for box in lineage_section.place(view.lineage).nodes.values()}
    assert kinds["train_tokenizer"] == "gone" and kinds["pretrain"] == "made"


def test_the_samples_of_a_model_are_those_that_its_evaluation_keeps(view: RunView) -> None:
    (model,) = view.models
    assert [sample["how"] for sample in view.samples(model)] == ["greedy"]
    assert view.calibration(model)[0]["items"] == 4 and (view.confusion(model) or {})["matrix"] == [[3, 1], [0, 0]]
