"""What the live lines of a run say."""

from __future__ import annotations

import io
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from tasks.core.events import Event
from tasks.views.terminal.progress_bars import Board, Stage, clock

STEPS = [("collect", "fetch_shard")] * 2 + [("pretrain", "pretrain")] + [("evaluate", "gate")]


@pytest.fixture
def board() -> Board:
    made = Board()
    made.expect(STEPS)
    return made


def shown(board: Board, width: int = 80) -> list[str]:
    """The lines as a terminal without colours has them."""
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=True, color_system=None).print(board)
    return out.getvalue().splitlines()


def test_each_stage_has_one_line_no_wider_than_the_terminal(board: Board) -> None:
    board.started("fetch_shard[a-000]")
    board.started("fetch_shard[a-rather-long-name-of-a-shard-000]")
    for width in (60, 80, 120):
        lines = shown(board, width)
        assert [line.split()[0 if line[0] == " " else 1] for line in lines] == ["collect", "pretrain", "evaluate"]
        assert all(len(line) <= width for line in lines)


def test_a_stage_counts_its_steps_and_shows_what_came_of_them(board: Board) -> None:
    board.ended("fetch_shard[a]", "cached", "10 rows")
    assert "1/2" in shown(board)[0] and shown(board)[0].startswith(".")
    board.started("fetch_shard[b]")
    board.ended("fetch_shard[b]", "completed", "20 rows")
    line = shown(board)[0]
    assert line.startswith("+") and "2/2" in line and "1 made" in line and "20 rows" in line


def test_a_running_step_fills_the_bar_and_foretells_its_end(board: Board) -> None:
    board.started("pretrain")
    board.event("pretrain", Event("progress", 50, 100, "step", 5.0, 10.0, "19,080 tokens/s  loss 5.09"))
    line = shown(board)[1]
    assert "████████░░░░░░░░" in line and "step 50/100  19,080 tokens/s" in line and "left 0:10" in line


def test_what_is_left_of_more_than_a_day_is_shown(board: Board) -> None:
    board.started("pretrain")
    board.event("pretrain", Event("progress", 1, 100, "step", 0.001, 97_300.0))
    assert "left 1 d 3 h" in shown(board)[1]


def test_a_shard_that_tells_how_far_it_is_is_named(board: Board) -> None:
    for label in ("fetch_shard[a]", "fetch_shard[b]"):
        board.started(label)
    board.event("fetch_shard[a]", Event("progress", 500, 1000, "document", 100.0))
    line = shown(board, 120)[0]
    assert "fetch_shard[a] and 1 more  document 500/1,000  100 documents/s" in line and "████░░░░" in line


def test_signs_tell_what_colours_tell(board: Board) -> None:
    for label, state in (("fetch_shard[a]", "cached"), ("fetch_shard[b]", "cached"), ("pretrain", "failed"),
                         ("gate", "refused")):  # fmt: skip
        board.ended(label, state, "")
    assert [line[0] for line in shown(board)] == ["=", "x", "!"]
    assert "all cached" in shown(board)[0] and "1 failed" in shown(board)[1]
    assert "█" not in shown(board)[1]


def test_after_the_end_nothing_seems_to_run(board: Board) -> None:
    board.started("pretrain")
    board.over = True
    assert shown(board)[1].startswith("-") and "left" not in shown(board)[1]


def test_an_event_of_no_step_makes_no_stage(board: Board) -> None:
    board.event("", Event("progress", 3, 5, "step"))
    board.event("gate", Event("progress", 3, 5, "step"))
    assert [line.split()[0] for line in shown(board)] == ["collect", "pretrain", "evaluate"]


def test_shards_foretell_the_end_by_their_pace() -> None:
    now = time.monotonic()
    stage = Stage("clean", 4, ["cached", "completed"], {"clean_shard[c]": None}, since=now - 10, paced=10)
    assert stage.left(now) == pytest.approx(20.0)
    assert stage.left(now + 5) == pytest.approx(15.0), "it shrinks while one waits"
    assert stage.left(now + 60) is None, "what is overdue is not foretold"
    stage.running = {"clean_shard[c]": Event("progress", 1, 2)}
    assert stage.left(now + 5) == pytest.approx(15.0), "half of a step is half of its time"
    stage.states = ["cached"]
    assert stage.left(now) is None


def test_the_pace_is_that_of_the_last_step_that_was_made(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr("tasks.views.terminal.progress_bars.time", SimpleNamespace(monotonic=lambda: clock[0]))
    board.started("fetch_shard[a]")
    clock[0] += 30
    board.ended("fetch_shard[a]", "completed", "")
    assert board.stages["collect"].paced == 30.0
    clock[0] += 10
    board.ended("fetch_shard[b]", "cached", "")
    assert board.stages["collect"].paced == 30.0


@pytest.mark.parametrize(("seconds", "text"), [(7.4, "0:07"), (750, "12:30"), (7500, "2:05:00"), (97_300, "1 d 3 h")])
def test_times_read_as_on_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text
