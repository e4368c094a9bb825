"""The end of a run, for people."""

from __future__ import annotations

import io
import shlex
from typing import Any

import pytest
from rich.console import Console

from flows.cli.main import main
from tasks.core.engine.workspace import Outcome
from tasks.core.run_warnings import warning
from tasks.views.run_view import RunView
from tasks.views.terminal import summary

HELLO = "Hello! How are you?"


def summarise(console: Console, record: dict[str, Any], outcomes: list[Outcome]) -> None:
    summary.summarise(console, RunView.running(None, record, outcomes))


def test_how_many_documents_are_seen_more_than_once_is_told() -> None:
    record = {"metrics": {}, "samples": {}, "models": [], "state": "reached", "seconds": 2.0, "run": "r", "urls": {}}
    stats = {"tokens": 500, "repeated": 3, "times": {"2": 3}, "once": {"documents": 9, "tokens": 1000}}
    console = Console(file=io.StringIO(), width=200)
    outcomes = [
        Outcome("repeat_shard", "a-000", "completed", key="k", stats=stats),
        Outcome("repeat_shard", "a-001", "failed"),
    ]
    summarise(console, record, outcomes)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\n3 training documents seen more than once" in said and "500 tokens beside 1,000 (50.0 % more)" in said


def test_the_cost_of_a_run_is_told_or_which_price_gives_it() -> None:
    record = {"metrics": {}, "samples": {}, "models": [], "state": "reached", "seconds": 2.0, "run": "r", "urls": {}}
    engine = {"price_per_device_hour": 2.0, "currency": "EUR"}
    said = []
    for cost in (None, 1.5):
        console = Console(file=io.StringIO(), width=200)
        summarise(console, {**record, "cost": cost, "config": {"engine": engine}}, [])
        said.append(console.file.getvalue())  # type: ignore[attr-defined]
    assert "reached in 2.0 s, at a cost of n/a (set engine.price_per_core_hour)  run r" in said[0]
    assert "at a cost of 1.50 EUR  run r" in said[1]


def test_what_validation_set_aside_is_told_with_its_reason_and_where_to_look() -> None:
    aside = {"mine-001": {"documents": 40, "failed": ["rows: 0", "[text]: 3"]}}
    record = {"metrics": {}, "samples": {}, "models": [], "state": "reached", "seconds": 2.0, "run": "r", "urls": {}}
    said = []
    for stats in ({}, {"quarantined": aside}):
        console = Console(file=io.StringIO(), width=200)
        summarise(console, record, [Outcome("validate_corpus", None, "cached", key="k", stats=stats)])
        said.append(console.file.getvalue())  # type: ignore[attr-defined]
    assert "aside" not in said[0]
    assert "1 shard with 40 documents set aside by validation: mine-001.\n  mine-001: rows: 0; [text]: 3\n" in said[1]
    assert "fromzero rejects last --reason quarantine" in said[1]


def ended(state: str, kind: str, aliases: list[str]) -> list[str]:
    """The lines of the summary of a run that made one model."""
    model = {"name": "mine", "version": 2, "aliases": aliases, "kind": kind, "primary": True}
    record = {"metrics": {}, "samples": {}, "models": [model], "state": state, "seconds": 2.0, "run": "r", "urls": {}}
    record["config"] = {"models": {"one": {"register": {"name": "mine"}, "evaluate": {"prompts": []}}}}
    message = "mine version 2 is not promoted: it does not beat naive Bayes (…)\n  candidate  mine version 2"
    console = Console(file=io.StringIO(), width=200)
    outcomes = [Outcome("gate", None, "completed"), Outcome("promote_model", None, state, message=message)]
    summarise(console, record, outcomes)
    return console.file.getvalue().splitlines()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("kind", ["base", "chat", "classifier"])
def test_the_first_line_says_what_was_refused_and_why(kind: str) -> None:
    first = ended("refused", kind, [])[0]
    assert first == "refused: mine version 2 is not promoted: it does not beat naive Bayes (…)"
    assert not any(line.startswith("refused: ") for line in ended("completed", kind, ["champion"]))


@pytest.mark.parametrize(("kind", "verb"), [("base", "generate"), ("chat", "generate"), ("classifier", "predict")])
@pytest.mark.parametrize(
    ("aliases", "ref"), [(["champion"], "mine@champion"), (["previous"], "mine@2"), ([], "mine@2")]
)
def test_what_is_recommended_suits_the_kind_of_model_and_names_a_version_that_is_there(
    kind: str, verb: str, aliases: list[str], ref: str
) -> None:
    lines = ended("completed", kind, aliases)
    (words,) = [shlex.split(line) for line in lines if line.startswith(f"  fromzero {verb} ")]
    assert words[:3] == ["fromzero", verb, ref] and len(words) == 4
    command = main.commands[verb]
    with command.make_context(verb, words[2:]) as context:  # click takes it
        assert context.params["model"] == ref
    assert f"  fromzero lineage {ref}" in lines


@pytest.mark.parametrize(
    ("kind", "prompts", "said"),
    [("base", ["It was"], "'It was'"), ("causal_lm", [], "The"), ("chat", [HELLO], "'Hello! How are you?'")],
)
def test_what_to_look_at_further_begins_as_the_texts_of_the_recipe_do(kind: str, prompts: list[str], said: str) -> None:
    model = {"name": "mine", "version": 1, "aliases": ["champion"], "kind": kind, "primary": True}
    record = {"metrics": {}, "samples": {}, "models": [model], "state": "completed", "seconds": 2.0, "run": "r"}
    chosen = {"register": {"name": "mine"}, "evaluate": {"prompts": prompts}}
    other = {"register": {"name": "other"}, "evaluate": {"prompts": ["No"]}}
    record |= {"urls": {}, "config": {"models": {"other": other, "chosen": chosen, "bare": {"register": None}}}}
    console = Console(file=io.StringIO(), width=200)
    summarise(console, record, [])
    assert f"fromzero generate mine@champion {said}\n" in console.file.getvalue()  # type: ignore[attr-defined]


def test_what_a_run_warns_of_is_told_with_the_option_also_where_all_is_cached() -> None:
    record = {"metrics": {}, "samples": {}, "models": [], "state": "reached", "seconds": 2.0, "run": "r", "urls": {}}
    console = Console(file=io.StringIO(), width=200)
    stats = {"warnings": [warning("[web]: clean drops 45.0 %", "data.losses")]}
    summarise(console, record, [Outcome("check_losses", None, "cached", key="k", stats=stats)])
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\nwarning: check_losses: [web]: clean drops 45.0 % (data.losses)\n" in said
