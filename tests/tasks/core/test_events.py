"""What steps tell, from the process that does the work to the one that shows it."""

from __future__ import annotations

import json
import os
import select
import subprocess
from pathlib import Path

import pytest

from tasks.core import events, interpreter, waiting
from tasks.core.events import Event, Progress, Reading, heard_by, tell


def output(code: str, word: str | None) -> bytes:
    """What a process of ours with that word puts out."""
    env = {**interpreter.environment(), **({events.WORD: word} if word else {})}
    return subprocess.run(interpreter.command("-c", code), env=env, capture_output=True, check=True).stdout


def read(data: bytes, word: str) -> list[str | Event]:
    reading, found = Reading(word), list[str | Event]()
    for line in data.splitlines(keepends=True):
        text, event = reading.of(line)
        found += [text.decode().rstrip()] if text else []
        found += [event] if event else []
    return found


def test_events_come_out_of_a_process_whole_and_in_order_with_its_text() -> None:
    told = Event("progress", 3, 9, "step", 0.5, 90_000.0, "loss 1.2 → ü")
    code = f"""
from tasks.core.events import Event, tell, warn
import sys
print("before"); tell({told!r}); print("between"); warn("few rows")
sys.stdout.write("no end"); tell(Event("result", text="1"))
"""
    found = read(output(code, "w0rd"), "w0rd")
    assert found == ["before", told, "between", Event("warning", text="few rows"), "no end", Event("result", text="1")]


def test_processes_below_the_body_tell_too() -> None:
    code = """
import subprocess
from tasks.core import interpreter
child = "from tasks.core.events import notice; notice('from below')"
subprocess.run(interpreter.command("-c", child), env=interpreter.environment(), check=True)
"""
    assert read(output(code, "w0rd"), "w0rd") == [Event("notice", text="from below")]


@pytest.mark.parametrize(
    "text",
    [
        "step 3/9",
        "sample: 'x' → 'step 3/9  loss 1.0  left 10 s'",
        json.dumps({"kind": "progress", "done": 3, "total": 9}),
        "\x1e0123456789abcdef " + json.dumps({"kind": "warning", "text": "forged"}),
        "\x1e " + json.dumps({"kind": "progress", "done": 3, "total": 9}),
        "warning: this model is fine",
    ],
)
def test_no_text_is_an_event(text: str) -> None:
    word = events.word()
    assert read(f"{text}\n".encode(), word) == [text]
    assert read(output(f"print({text!r})", word), word) == [text]


def test_the_word_is_drawn_anew_and_an_event_of_another_one_is_text() -> None:
    first, second = events.word(), events.word()
    assert first != second and len(first) >= 32
    said = output("from tasks.core.events import result; result('x')", first)
    assert read(said, first) == [Event("result", text="x")]
    assert not [one for one in read(said, second) if isinstance(one, Event)]


@pytest.mark.parametrize(
    "raw", ['{"kind": "party"}', '{"done": "3"}', '{"total": NaN}', '{"more": 1}', "[]", '{"text": 1}', "step 3/9", ""]
)
def test_what_is_torn_or_no_event_is_text(raw: str) -> None:
    assert not [one for one in read(f"\x1ew0rd {raw}\n".encode(), "w0rd") if isinstance(one, Event)]


def test_a_text_of_any_length_is_told_in_one_piece() -> None:
    said = output("from tasks.core.events import result; result('é' * 100_000)", "w0rd")
    (found,) = read(said, "w0rd")
    assert len(said) <= select.PIPE_BUF and isinstance(found, Event)
    assert found.text.startswith("ééé") and found.text.endswith("…")


def test_where_nobody_listens_what_is_loud_is_printed_and_progress_passes(capsys: pytest.CaptureFixture[str]) -> None:
    tell(Event("progress", 1, 2, "step"))
    events.warn("few rows")
    events.result("0.7 accuracy")
    assert capsys.readouterr().out == "warning: few rows\n0.7 accuracy\n"


def test_what_is_told_in_process_is_heard_there(capsys: pytest.CaptureFixture[str]) -> None:
    heard: list[Event] = []
    with heard_by(heard.append):
        events.notice("inside")
    assert heard == [Event("notice", text="inside")] and capsys.readouterr().out == ""


def test_a_wait_is_told_by_the_thread_that_watches_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "AFTER", 0.0)
    heard: list[Event] = []
    with heard_by(heard.append), waiting.announced("the tide"):
        while not heard:
            pass
    assert heard[0].kind == "notice" and heard[0].text.startswith("waiting for the tide: 0 s")


def test_a_loop_tells_now_and_then_and_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Event] = []
    with heard_by(heard.append):
        assert list(events.counted(range(1000), 1000, "document")) == list(range(1000))
    assert [event.done for event in heard] == [1000]
    monkeypatch.setattr(events, "EVERY", 0.0)
    with heard_by(heard.append):
        list(events.counted([2, 3, 5], 10, "document", size=lambda n: n))
    assert [event.done for event in heard[1:]] == [2, 5, 10] and heard[-1].left == 0


def test_what_an_earlier_process_did_is_no_part_of_the_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr(events.time, "monotonic", lambda: clock[0])
    progress = Progress(100, "batch", done=50)
    heard: list[Event] = []
    clock[0] += 10.0
    with heard_by(heard.append):
        progress.add(10)
    assert (heard[0].done, heard[0].rate, heard[0].left) == (60, 1.0, 40.0)


def test_an_event_in_words() -> None:
    assert Event("progress", 1200, 4000, "document", 310.0).said == "document 1,200/4,000  310 documents/s"
    assert Event("progress", 3, 9, "step", 310.0, 97_300.0, "loss 1").whole == "step 3/9  loss 1  left 1 d 3 h"
    assert Event("warning", text="few rows").whole == "warning: few rows"
    assert Event("progress", 10, 9).share == 1.0 and Event("progress").share == 0.0


def test_output_that_is_closed_ends_no_step(tmp_path: Path) -> None:
    code = "import os; os.close(1)\nfrom tasks.core.events import result\nresult('x'); open('done', 'w').close()"
    env = {**interpreter.environment(), events.WORD: "w0rd"}
    subprocess.run(interpreter.command("-c", code), env=env, cwd=tmp_path, check=False)
    assert (tmp_path / "done").exists() and os.environ.get(events.WORD) is None
