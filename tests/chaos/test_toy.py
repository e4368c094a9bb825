"""Real processes, really killed: the machinery under the toy flow."""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tasks.core import liveness
from tasks.core.artifact import Manifest
from tasks.core.engine.workspace import COUNT_EVERY
from tasks.core.services import prefect_api
from tasks.core.store.open import open_store
from tasks.core.store.store import Store
from tasks.core.workdir import Workdir
from tests.toy_process import ROOT, Toy, eventually, living

TEXTS = ("a=hello", "b=world")


@pytest.fixture
def store(home: Path) -> Store:
    return open_store()


def trained(store: Store) -> Manifest:
    """The one trained artifact."""
    (only,) = store.manifests("train")
    return only


def progress(home: Path) -> int:
    """How far the training in the work directory is."""
    found = [int(path.read_text() or 0) for path in (home / "store/_work/train").glob("*/scratch/progress")]
    return max(found, default=0)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_killed_training_child_goes_on_from_its_checkpoint(
    home: Path, prefect_url: str, store: Store, seed: int
) -> None:
    goal = random.Random(seed).randint(2, 15)
    toy = Toy(home, prefect_url, *TEXTS, TOY_STAY_AT=str(goal))
    toy.until(lambda: progress(home) >= goal)
    (child,) = toy.children()
    os.kill(child, signal.SIGKILL)
    found = toy.wait()
    assert found["state"] == "completed"
    assert next(o["attempts"] for o in found["outcomes"] if o["step"] == "train") == 2
    assert "20" in (store.local(trained(store)) / "content/model.txt").read_text()
    again = toy.log.read_text()
    assert again.count("> train\n") == 2


def test_a_killed_run_leaves_no_child_and_the_next_run_goes_on(home: Path, prefect_url: str, store: Store) -> None:
    toy = Toy(home, prefect_url, *TEXTS, TOY_STAY_AT="3")
    toy.until(lambda: progress(home) >= 3)
    toy.kill()
    assert eventually(lambda: not living(str(home))), "the trainer outlived its run"
    assert progress(home) == 3
    (gone,) = liveness.dead(home)
    found = Toy(home, prefect_url, *TEXTS).wait()
    assert prefect_api.ask(prefect_url, f"flow_runs/{gone['run']}")["state_name"] == "Crashed", "nothing stays Running"
    tasks = prefect_api.ask(prefect_url, "task_runs/filter", {"flow_runs": {"id": {"any_": [gone["run"]]}}})
    assert {task["state_name"] for task in tasks} <= {"Completed", "Crashed"}
    assert liveness.dead(home) == []
    assert found["states"]["make[a]"] == found["states"]["join"] == "cached"
    assert found["states"]["train"] == "completed"
    assert not (home / "store/_work/train").exists() or not list((home / "store/_work/train").iterdir())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_the_time_of_a_run_that_was_ended_counts_as_that_of_what_the_next_one_completes(
    home: Path, prefect_url: str, store: Store, how: signal.Signals
) -> None:
    toy = Toy(home, prefect_url, *TEXTS, TOY_STAY_AT="3")
    notes = home / "store/_work/train"
    toy.until(lambda: list(notes.glob("*/scratch/spent.json")))  # what a run notes that does not know of its end
    toy.process.send_signal(how)
    toy.process.wait(600)
    assert eventually(lambda: not living(str(home)))
    (note,) = notes.glob("*/scratch")
    before, attempts = Workdir(note.parent).spent
    assert before >= COUNT_EVERY and attempts == 1
    found = Toy(home, prefect_url, *TEXTS).wait()
    (outcome,) = [o for o in found["outcomes"] if o["step"] == "train"]
    made_by = trained(store).made_by
    assert (made_by["seconds"], made_by["attempts"]) == (pytest.approx(outcome["seconds"], abs=0.001), 2)
    assert outcome["seconds"] > before and outcome["attempts"] == 2
    assert {file.path for file in trained(store).files} == {"content/model.txt"}


def test_two_runs_at_once_make_each_step_once(home: Path, prefect_url: str, store: Store) -> None:
    pair = [Toy(home, prefect_url, *TEXTS, pause=0.2) for _ in range(2)]
    found = [toy.wait() for toy in pair]
    for label in found[0]["states"]:
        assert sorted(f["states"][label] for f in found) in (["cached", "completed"], ["cached", "cached"]), label
    assert len(list(store.manifests())) == 6


def test_the_second_run_takes_over_when_the_first_is_killed(home: Path, prefect_url: str, store: Store) -> None:
    first = Toy(home, prefect_url, *TEXTS, TOY_STAY_AT="2")
    first.until(lambda: progress(home) >= 2)
    second = Toy(home, prefect_url, *TEXTS)
    second.until(lambda: "is being made by another run" in second.log.read_text())
    first.kill()
    found = second.wait()
    assert found["states"]["train"] == "completed"
    assert len(list(store.manifests("train"))) == 1


@pytest.mark.parametrize("step", ["make[a]", "join", "train"])
def test_an_interrupt_stops_everything_within_seconds_and_exits_130(
    home: Path, prefect_url: str, step: str, store: Store
) -> None:
    toy = Toy(home, prefect_url, *TEXTS, pause=0.3, TOY_STAY_AT="3")
    toy.until(toy.started(step))
    time.sleep(0.5)
    (about,) = liveness.living(home)
    toy.process.send_signal(signal.SIGINT)
    assert toy.process.wait(600) == 130, toy.log.read_text()[-2000:]
    assert eventually(lambda: not living(str(home)))
    shown = prefect_api.ask(prefect_url, f"flow_runs/{about['run']}")["state"]
    assert shown["type"] == "CANCELLED" and shown["message"].endswith("run again to go on")
    mine = {"flow_runs": {"id": {"any_": [about["run"]]}}}

    def states() -> set[tuple[str, str]]:
        found = [run["state"] for run in prefect_api.ask(prefect_url, "task_runs/filter", mine)]
        return {(state["type"], state["message"] or "") for state in found} - {("COMPLETED", "")}

    wanted = {("CANCELLED", shown["message"])}
    assert eventually(lambda: states() == wanted), states()
    assert set(Toy(home, prefect_url, *TEXTS).wait()["states"].values()) <= {"completed", "cached"}


def test_a_run_notices_that_it_was_cancelled_in_prefect(home: Path, prefect_url: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell begins a background job
    try:
        toy = Toy(home, prefect_url, *TEXTS, TOY_STAY_AT="2")
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    toy.until(lambda: progress(home) >= 2)

    (about,) = liveness.living(home)
    run = about["run"]
    cancelling = {"type": "CANCELLING", "name": "Cancelling"}
    prefect_api.ask(prefect_url, f"flow_runs/{run}/set_state", {"state": cancelling, "force": True})
    assert toy.process.wait(600) == 130
    assert eventually(lambda: not living(str(home)))
    assert prefect_api.ask(prefect_url, f"flow_runs/{run}")["state_type"] == "CANCELLED"


CANCELLED = """
import os, sys
from tasks.core import liveness
from tasks.core.engine import interrupts
from tasks.core.services import prefect_api
from tasks.core.store.open import home
from tests import toy, toy_run
interrupts.CANCEL_EVERY = 600.0
made = toy.wiring
def wiring(*given):
    (about,) = liveness.living(home())
    assert prefect_api.cancel(os.environ["PREFECT_API_URL"], about["run"], "the test") is None
    made(*given)
toy.wiring = wiring
sys.exit(toy_run.main("one", "0", *sys.argv[1:]))
"""
"""The toy flow, cancelled while it runs, which it does not notice before its end."""


@pytest.mark.parametrize(
    ("text", "ended", "state"),
    [("hello", "completed", ("Completed", "4 made, 0 steps reused")), ("bad", "", ("Failed", None))],
)
def test_a_run_that_ends_before_it_notices_its_cancellation_is_in_prefect_what_it_was(
    home: Path, prefect_url: str, text: str, ended: str, state: tuple[str, str | None]
) -> None:
    environ = {**os.environ, "FROMZERO_HOME": str(home), "PREFECT_API_URL": prefect_url}
    command = [sys.executable, "-c", CANCELLED, f"a={text}"]
    ran = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=600)
    found = json.loads(ran.stdout or "{}")
    assert found.get("state") == ended, ran.stderr[-3000:]
    assert found["error"] == ("" if ended else "DataError: the text is BAD")
    newest = {"sort": "START_TIME_DESC", "limit": 1, "flows": {"name": {"any_": ["toy"]}}}
    (shown,) = prefect_api.ask(prefect_url, "flow_runs/filter", newest)
    assert (shown["state_name"], shown["state"]["message"]) == state
    assert liveness.dead(home) == []


LOSING = """
import os, signal, sys
from tests import toy, toy_run
class Finalized:
    def __del__(self):
        os.kill(os.getpid(), int(os.environ["TOY_SIGNAL"]))
made = toy.wiring
def wiring(*given):
    Finalized()
    made(*given)
toy.wiring = wiring
signal.signal(signal.SIGTERM, signal.default_int_handler)
sys.exit(toy_run.main("one", "0", "a=hello"))
"""
"""The toy flow, sent a signal where Python drops what its handler raises."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_that_python_drops_in_a_finalizer_stops_the_run_all_the_same(
    home: Path, prefect_url: str, number: signal.Signals
) -> None:
    environ = {**os.environ, "FROMZERO_HOME": str(home), "PREFECT_API_URL": prefect_url}
    environ |= {"TOY_STAY_AT": "3", "TOY_SIGNAL": str(int(number))}
    ran = subprocess.run([sys.executable, "-c", LOSING], cwd=ROOT, env=environ, capture_output=True, timeout=600)
    assert b"Exception ignored in" in ran.stderr, "it was not dropped: the test shows nothing"
    assert ran.returncode == 130, ran.stderr[-2000:].decode()
    assert eventually(lambda: not living(str(home)))


def test_a_store_that_cannot_be_written_is_one_clear_error(home: Path, prefect_url: str) -> None:
    full = home / "store" / "join"
    full.parent.mkdir(parents=True)
    full.write_text("a file where the step's folder should be")
    found = Toy(home, prefect_url, *TEXTS).wait()
    assert found["error"] and "join" in found["error"]
    full.unlink()
    assert Toy(home, prefect_url, *TEXTS).wait()["state"] == "completed"


def test_a_full_disk_is_named_and_the_next_run_goes_on(home: Path, prefect_url: str) -> None:
    """A process may not write files beyond a limit: what ENOSPC is to a disk, EFBIG is here."""
    script = f"""
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({40_000}, {resource.RLIM_INFINITY}))
sys.argv = ["toy", "one", "0", "a=" + "long" * 20_000]
from tests.toy_run import main
sys.exit(main(*sys.argv[1:]))
"""
    environ = {**os.environ, "FROMZERO_HOME": str(home), "PREFECT_API_URL": prefect_url}
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=600
    )
    found = json.loads(ran.stdout)
    assert found["error"].startswith("HostError: "), ran.stderr[-2000:]
    assert "ulimit" in found["error"]
    assert list(open_store().manifests()) == []
    whole = Toy(home, prefect_url, "a=" + "long" * 20_000).wait()
    assert set(whole["states"].values()) == {"completed"}
