"""Plain lines where there is no terminal, and failures with their log."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.live import Live

from flows.runs.history import Run
from tasks.core.engine.workspace import Outcome
from tasks.core.errors import StepError
from tasks.core.events import Event
from tasks.core.plan.costs import Prices
from tasks.core.plan.planner import Row
from tasks.views.terminal.live import Terminal, plan_lines, plan_table
from tasks.views.terminal.tables import runs_table


def test_without_a_terminal_there_are_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with Terminal() as terminal:
        terminal.expect([("clean", "clean_shard")])
        terminal.started("clean_shard[a]")
        terminal.line("clean_shard[a]", "not yet due")
        terminal.event("clean_shard[a]", Event("warning", text="many rejects"))
        terminal.ended(Outcome("clean_shard", "a", "completed", seconds=2.0))
        terminal.ended(Outcome("clean_shard", "b", "cached"))
    assert capsys.readouterr().out.splitlines() == [
        "> clean_shard[a]", "  clean_shard[a]: warning: many rejects", "+ clean_shard[a]  completed  2.0 s",
    ]  # fmt: skip


def test_what_a_step_warns_of_is_said_once_however_often_it_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    with Terminal(verbose=True) as terminal:
        for _ in range(2):  # check_losses judges what is cleaned, and then all that is trained on
            terminal.started("check_losses")
            terminal.event("check_losses", Event("warning", text="clean drops 45.0 % of source web"))
        terminal.event("check_losses", Event("warning", text="clean drops 46.0 % of source web"))
        terminal.event("other", Event("warning", text="clean drops 45.0 % of source web"))
    lines = [line for line in capsys.readouterr().out.splitlines() if "warning" in line]
    assert lines == [
        "  check_losses: warning: clean drops 45.0 % of source web",
        "  check_losses: warning: clean drops 46.0 % of source web",
        "  other: warning: clean drops 45.0 % of source web",
    ]


def stays(label: str, *said: str | Event) -> str:
    """What stays on a terminal that shows what is under way, of lines and events."""
    out = io.StringIO()
    with Terminal() as terminal:
        terminal.console = Console(file=out, width=80)
        terminal._live = Live(console=terminal.console)
        for one in said:
            terminal.event(label, one) if isinstance(one, Event) else terminal.line(label, one)
    return out.getvalue()


def test_a_wait_is_shown_where_lines_pass_otherwise() -> None:
    said = "waiting for MLflow at http://mlflow: 33 s so far"
    assert said in stays("register_model[base]", Event("notice", text=said), "step 1/9")


@pytest.mark.parametrize(
    "said",
    [
        "step 9/9  valid loss 1.2500",
        "step 40: no lower valid loss in 3 looks: ending before the budget",
        "sample: 'The' → ' end'",
        "2.091 bits per byte (2.048 to 2.134), gzip -9 2.856: the model beats gzip",
        "2 nodes meet at first:29400",
    ],
)
def test_without_a_terminal_no_result_is_left_out(said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with Terminal() as terminal:
        terminal.started("pretrain")
        terminal.event("pretrain", Event("notice" if "meet" in said else "result", text=said))
        terminal.line("pretrain", "step 41/80  loss 5.2207  19,080 tokens/s")
    assert capsys.readouterr().out.splitlines() == ["> pretrain", f"  pretrain: {said}"]


def test_in_a_terminal_lines_stay_that_need_a_person_and_others_pass() -> None:
    told = Event("notice", text="2 nodes meet at first:29400"), Event("result", text="step 9/9  valid loss 1.2500")
    shown = stays("pretrain", *told, "step 9/9")
    assert shown == "  pretrain: 2 nodes meet at first:29400\n"


@pytest.mark.parametrize("text", ["step 3/9", "warning: fine", "waiting for it", "sample: 'x'", "valid loss 1.0"])
def test_what_a_line_says_moves_no_bar_and_is_no_louder_than_others(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with Terminal() as terminal:
        terminal.expect([("evaluate", "evaluate_lm")])
        terminal.started("evaluate_lm")
        terminal.line("evaluate_lm", text)
        assert terminal.board.stages["evaluate"].share == 0
        terminal.event("evaluate_lm", Event("result", text=text))
        assert terminal.board.stages["evaluate"].share == 0, "nor does what an event says"
        terminal.event("evaluate_lm", Event("progress", 3, 9, "step"))
        assert terminal.board.stages["evaluate"].share == pytest.approx(1 / 3)
    assert capsys.readouterr().out.splitlines() == ["> evaluate_lm", f"  evaluate_lm: {text}"]


def test_without_a_terminal_progress_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [100.0]
    monkeypatch.setattr("tasks.views.terminal.live.time.monotonic", lambda: clock[0])
    with Terminal() as terminal:
        terminal.started("translate_examples")
        for number in range(1, 5):
            clock[0] += 2.0
            left = 97_300.0 - number
            terminal.event("translate_examples", Event("progress", number, 9, "batch", 0.5, left))
    assert capsys.readouterr().out.splitlines() == [
        "> translate_examples", "  translate_examples: batch 3/9  left 1 d 3 h"
    ]  # fmt: skip


def test_details_show_every_line_and_what_was_cached(capsys: pytest.CaptureFixture[str]) -> None:
    with Terminal(verbose=True) as terminal:
        terminal.started("pretrain")
        terminal.line("pretrain", "step 1/2")
        terminal.ended(Outcome("gate", None, "cached"))
    assert {"  pretrain: step 1/2", "= gate  cached"} <= set(capsys.readouterr().out.splitlines())


def test_with_json_nothing_of_this_goes_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(quiet_stdout=True)
    terminal.started("pretrain")
    out, err = capsys.readouterr()
    assert (out, err) == ("", "> pretrain\n")


def test_failures_end_with_the_reason_and_the_logs_place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("clean_shard[a].log", "clean_shard[b].log", "clean_shard[c].log"):
        (tmp_path / name).touch()
    outcomes = [
        Outcome("clean_shard", "a", "failed", message="no columns"),
        Outcome("clean_shard", "b", "failed", message="no rows"),
        Outcome("clean_shard", "c", "completed"),
        Outcome("fetch_shard", "a", "failed", message=f"lost; its log: {tmp_path}/fetch_shard[a].log"),
    ]
    Terminal().failures(outcomes, tmp_path, StepError("no columns"))
    assert capsys.readouterr().out.splitlines() == [
        f"  the log of clean_shard[a]: {tmp_path}/clean_shard[a].log",
        "x clean_shard[b]: no rows",
        f"  the log of clean_shard[b]: {tmp_path}/clean_shard[b].log",
        f"x fetch_shard[a]: lost; its log: {tmp_path}/fetch_shard[a].log",
    ], "the reason of the first is what the error itself says"


def printed(table: Any, width: int) -> list[str]:
    """The lines of a table in a terminal."""
    out = io.StringIO()
    Console(file=out, width=width).print(table)
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_a_run_is_one_line_of_80_columns_and_a_wide_terminal_shows_more() -> None:
    metric = {"step": "evaluate_lm", "name": "bits_per_byte", "value": 2.345678, "low": 2.1, "high": 2.4}
    run = Run("0" * 28 + "12345678", "demo-2026-11-24-133050", "demo", "completed", 1.8e9, 185.0, 21, 107, metric)
    head, line = printed(runs_table([run], 80), 80)
    assert "name" not in head and line.startswith("12345678 ") and line.endswith("bits_per_byte 2.346")
    assert "3 min 05 s" in line and "completed" in line and " 107 " in line
    _, line = printed(runs_table([run], 140), 140)
    assert run.name in line and line.endswith("bits_per_byte 2.346 [2.100, 2.400]")


def test_shards_of_one_fate_are_one_row_of_the_plan_and_only_the_reason_is_folded() -> None:
    why = "its code has changed: " + "tasks.clean.normalise, " * 5
    estimate = {"seconds": 242.0, "bytes": 1e6, "parameters": 3.68e6, "tokens": 9.99e5, "flops": 2.36e13}
    rows = [Row("clean_shard", f"web-00{n}", "run", why, estimate={"bytes": 1e6}) for n in range(4)]
    rows.append(Row("clean_shard", "web-004", "hit", "made before"))
    rows.append(Row("pretrain", None, "wait", "waits on train_tokenizer", estimate=estimate))
    lines = printed(plan_table(rows, 80), 80)
    assert lines[1].startswith("clean_shard  4 shards  run ") and lines[1].endswith("4.0 MB")
    assert lines[-2].startswith("clean_shard  web-004   hit") and all(len(line) <= 80 for line in lines)
    assert re.fullmatch(r"pretrain +wait +waits on train_tokenizer +4 min 02 s", lines[-1])
    assert "9.99e+05 tokens" in printed(plan_table(rows, 200), 200)[-1]


def test_models_are_named_in_the_plan_and_no_shards() -> None:
    rows = [Row("register_model", f"tiny-{kind}", "wait", "waits on pretrain") for kind in ("base", "chat", "news")]
    rows += [Row("pretrain", name, "run", "not made yet") for name in ("main", "anneal")]
    said = "\n".join(printed(plan_table(rows, 120), 120))
    assert "tiny-base, tiny-chat, tiny-news" in said and "main, anneal" in said and "shards" not in said


def test_below_the_plan_stands_what_a_training_takes_that_is_not_made_yet() -> None:
    held = {"weights_gb": 16.06, "gradients_gb": 4.015, "optimizer_gb": 8.03, "activations_gb": 19.83}
    known = {"parameters": 8.03e9, "tokens": 1.6e11, "flops": 8.2e21, "memory_gb": 383.0, "checkpoint_mb": 96363.0}
    rows = [
        Row("pretrain", None, "run", "not made yet", estimate={"seconds": 72.0, "cost": 5.0, **known, **held}),
        Row("pretrain", None, "wait", "waits on pretrain", estimate={**known, **held, "device_gb": 85.5}),
        Row("pretrain", None, "hit", "made before", estimate={**known, **held}),
        Row("train_tokenizer", None, "run", "not made yet", estimate={"vocab_size": 4096}),
    ]
    first, second = list(plan_lines(rows, Prices(1.0, 2.0, "EUR")))[:3], list(plan_lines(rows))[3:]
    assert first == [
        "pretrain: 8,030.0 M parameters, 160,000,000,000 tokens, 8.2e+21 FLOPs",
        "  memory of each process in GB: weights 16.1, gradients 4.01, optimizer 8.03, activations 19.8; of all 383",
        "  72.0 s, costs 5.00 EUR; a checkpoint takes 96,363 MB",
    ]
    assert "activations 19.8, of 85.5 that a GPU has; of all 383" in second[1]
    assert second[2].startswith("  time not known before a first run; ") and len(second) == 3
    assert all("weights" not in line for line in printed(plan_table(rows, 200), 200))


def test_a_plan_says_which_price_is_missing_where_the_time_is_known() -> None:
    rows = [Row("split", None, "run", "not made yet", estimate={"seconds": 3.0})]
    prices = Prices(per_device_hour=2.0)
    assert list(plan_lines(rows, prices)) == ["costs that are not told: n/a (set engine.price_per_core_hour)"]
    assert list(plan_lines(rows)) == list(plan_lines([Row("split", None, "hit")], prices)) == []
