"""One record of what a run warns of."""

from __future__ import annotations

from typing import Any

import pytest

from tasks.core.engine.workspace import Outcome
from tasks.core.plan.planner import Planner, Row
from tasks.core.run_warnings import Warned, of, told, warning
from tasks.core.step import Cpu, interpreted_by, step
from tasks.core.store.store import Store


def test_what_a_step_found_and_what_was_foretold_of_it_are_one_list_in_the_order_of_the_run() -> None:
    outcomes = [
        Outcome("validate_corpus", None, stats={"warnings": ["rows: 3"]}),
        Outcome("pretrain", None, warnings=[warning("9 epochs", "tokens")], stats={"warnings": [warning("slow")]}),
        Outcome("clean_shard", "a-000"),
    ]
    assert [str(one) for one in of(outcomes)] == [
        "validate_corpus: rows: 3", "pretrain: 9 epochs (tokens)", "pretrain: slow",
    ]  # fmt: skip


def test_what_several_calls_of_a_step_say_alike_is_there_once_and_what_differs_is_not_lost() -> None:
    alike, other = warning("cut", "max_length"), warning("cut", "elsewhere")
    outcomes = [
        Outcome("finetune", "a", warnings=[alike]),
        Outcome("finetune", "b", warnings=[alike, other]),
        Outcome("other", None, warnings=[alike]),
    ]
    assert of(outcomes) == [
        Warned("finetune", "a", "cut", "max_length"),
        Warned("finetune", "b", "cut", "elsewhere"),
        Warned("other", None, "cut", "max_length"),
    ]


def test_what_a_step_tells_while_it_runs_is_printed_as_terminals_look_for_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert told("18 of 40 are cut", "raise max_length") == warning("18 of 40 are cut", "raise max_length")
    assert capsys.readouterr().out == "warning: 18 of 40 are cut (raise max_length)\n"


def foretell(size: int, conf: Any) -> list[dict[str, str]]:
    """Warns of sizes over 3."""
    return [warning(f"{size} is much")] if size > 3 else []


@step(resources=Cpu(1), warns=foretell)
def sized(size: int, conf: Any, work: Any) -> dict[str, Any]:
    """A step that warns of its input."""
    return {}


def test_a_plan_holds_what_the_run_will_warn_of(tmp_path: Any) -> None:
    from tasks.core.store.local import LocalBackend

    planner = Planner(Store(LocalBackend(tmp_path)))
    with interpreted_by(planner):
        sized.map([1, 5])
    assert [row.warnings for row in planner.rows] == [[], [warning("5 is much")]]
    assert of(planner.rows) == [Warned("sized", None, "5 is much")]
    assert of([Row("sized", None, "hit")]) == []
