from __future__ import annotations

import logging
import threading

import pytest

from tasks.core.engine.progress import Headway


def test_the_first_and_the_last_line_are_shown_and_those_between_only_now_and_then() -> None:
    shown: list[tuple[float, str]] = []
    first = threading.Event()

    def show(percent: float, text: str) -> None:
        shown.append((percent, text))
        first.set()

    with Headway(show, every=60.0) as headway:
        headway.line("to train 2.6 M parameters")
        assert not first.is_set()
        headway.line("step 1/40  loss 9.1")
        assert first.wait(30)
        for number in range(2, 41):
            headway.line(f"step {number}/40  loss 5.0")
    assert shown == [(2.5, "step 1/40  loss 9.1"), (100.0, "step 40/40  loss 5.0")]


def test_a_line_comes_through_while_the_step_goes_on() -> None:
    shown: list[float] = []
    second = threading.Event()

    def show(percent: float, text: str) -> None:
        shown.append(percent)
        if percent == 50:
            second.set()

    with Headway(show, every=0.01) as headway:
        headway.line("step 1/4")
        headway.line("step 2/4")
        assert second.wait(30)
    assert shown[-1] == 50


def test_a_server_that_is_down_is_said_once_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def show(percent: float, text: str) -> None:
        raise ConnectionError("nobody there")

    with caplog.at_level(logging.WARNING), Headway(show, every=0.01) as headway:
        for number in range(5):
            headway.line(f"step {number}/4")
    assert [record.getMessage() for record in caplog.records] == ["how far the step is cannot be shown"]
