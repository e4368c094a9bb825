from __future__ import annotations

import logging
import threading

import pytest

from tasks.core.engine.progress import ProgressThread
from tasks.core.events import Event


def step(number: int, total: int) -> Event:
    return Event("progress", number, total, "step")


def test_the_first_and_the_last_event_are_shown_and_those_between_only_now_and_then() -> None:
    shown: list[Event] = []
    first = threading.Event()

    def show(event: Event) -> None:
        shown.append(event)
        first.set()

    with ProgressThread(show, every=60.0) as progress:
        assert not first.is_set()
        progress.event(step(1, 40))
        assert first.wait(30)
        for number in range(2, 41):
            progress.event(step(number, 40))
    assert shown == [step(1, 40), step(40, 40)]


def test_an_event_comes_through_while_the_step_goes_on() -> None:
    shown: list[float] = []
    second = threading.Event()

    def show(event: Event) -> None:
        shown.append(event.share)
        if event.share == 0.5:
            second.set()

    with ProgressThread(show, every=0.01) as progress:
        progress.event(step(1, 4))
        progress.event(step(2, 4))
        assert second.wait(30)
    assert shown[-1] == 0.5


def test_a_server_that_is_down_is_said_once_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def show(event: Event) -> None:
        raise ConnectionError("nobody there")

    with caplog.at_level(logging.WARNING), ProgressThread(show, every=0.01) as progress:
        for number in range(5):
            progress.event(step(number, 4))
    assert [record.getMessage() for record in caplog.records] == ["how far the step is cannot be shown"]
