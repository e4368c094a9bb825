"""Real processes that keep a heartbeat, stopped and hung in earnest."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tasks.training.cluster.heartbeat import PULSE, Heartbeat, read_sign
from tasks.training.cluster.watchdog import Watch
from tests.toy_process import eventually

CHILD = """
import sys, time
from tasks.training.cluster.heartbeat import Heartbeat, show_stacks_when_asked
show_stacks_when_asked()
heartbeat = Heartbeat.here()
def lost_in_thought():
    time.sleep(600)
for step in range(int(sys.argv[1])):
    heartbeat.finished(step + 1)
if sys.argv[2] == "busy":
    while True:
        heartbeat.beat()
        time.sleep(0.001)
lost_in_thought()
"""
LIMIT = 0.5
Start = Callable[[int, str], int]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a process that finishes so many steps and then is busy or hangs; its process id, once it has come there."""
    children = []

    def begin(steps: int, then: str) -> int:
        environ = {**os.environ, PULSE: str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(steps), then], env=environ)
        children.append(child)

        def there() -> bool:
            sign = read_sign(tmp_path, child.pid)
            return sign is not None and sign.step == steps

        assert eventually(there)
        return child.pid

    yield begin
    for child in children:
        child.kill()
        child.wait()


def silent(watch: Watch, pids: list[int]) -> list[int]:
    """The first processes that are found silent."""
    found: list[int] = []

    def look() -> bool:
        found.extend(watch.look(pids))
        return bool(found)

    assert eventually(look)
    return found


def test_a_hung_and_a_stopped_process_are_found_beside_a_busy_one_and_say_why(start: Start, tmp_path: Path) -> None:
    hung, busy, stopped = start(3, "hang"), start(4, "busy"), start(5, "busy")
    watch = Watch(tmp_path, LIMIT)
    os.kill(stopped, signal.SIGSTOP)
    assert eventually(lambda: psutil.Process(stopped).status() == psutil.STATUS_STOPPED)
    assert set(silent(watch, [hung, busy, stopped])) <= {hung, stopped}
    said = watch.stacks({0: hung, 1: busy, 2: stopped})
    assert said[0].startswith(f"process {hung}, step 3 finished:\n") and "in lost_in_thought" in said[0]
    assert f"process {busy}, step 4 finished:\n" in said[1] and "<module>" in said[1]
    assert said[2] == f"process {stopped}, step 5 finished: it is stopped by a signal, so there are no stacks"


def test_silence_before_the_first_finished_step_and_in_a_pause_means_nothing(start: Start, tmp_path: Path) -> None:
    new, late = start(0, "hang"), start(1, "hang")
    mine = Heartbeat(tmp_path)
    mine.finished(7)
    with mine.paused():
        assert silent(Watch(tmp_path, LIMIT), [os.getpid(), new, late]) == [late]
    assert silent(Watch(tmp_path, LIMIT), [os.getpid(), new]) == [os.getpid()]
    mine.rest()
    assert silent(Watch(tmp_path, LIMIT), [os.getpid(), late]) == [late]


def test_a_watch_that_was_itself_held_up_does_not_count_that_time(tmp_path: Path) -> None:
    mine = Heartbeat(tmp_path)
    mine.finished(1)
    watch = Watch(tmp_path, LIMIT)
    watch.looked -= watch.every
    assert watch.look([os.getpid()]) == []
    watch.looked -= 1000 * LIMIT
    assert watch.look([os.getpid()]) == []


def test_a_process_that_has_gone_is_said_to_have_ended(start: Start, tmp_path: Path) -> None:
    pid = start(1, "hang")
    os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    assert "it has ended" in Watch(tmp_path, LIMIT).stacks({0: pid})[0]
