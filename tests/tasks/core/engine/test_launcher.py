"""What every place does with a job, whatever it is: this machine, its bodies forked or spawned, and a second one that
knows the job's file only."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from conf.schema.engine import EngineConf
from tasks.core import interpreter, plugins
from tasks.core.artifact import Artifact
from tasks.core.engine import launcher
from tasks.core.engine.job_file import JobFile
from tasks.core.engine.launcher import Launcher, Listener
from tasks.core.engine.places.local import Local
from tasks.core.engine.placing import Placing
from tasks.core.engine.workspace import Job, Outcome, Workspace
from tasks.core.errors import ChildKilled, ConfigError, DataError, FromzeroError, HostError, StepError
from tasks.core.events import Event
from tasks.core.step import Call, Cpu, Resources, Step
from tasks.core.store.lease import FileLease, stopping
from tasks.core.store.local import LocalBackend
from tasks.core.store.store import Store
from tasks.core.workdir import Workdir
from tests.tasks.core.engine import bodies
from tests.tasks.core.engine.carried import Carried
from tests.tasks.core.engine.elsewhere import Elsewhere
from tests.toy_process import eventually

UNLIMITED = replace(bodies.stay, timeout=None)


class Held(FileLease):
    """A lease that can be lost."""

    lost = False

    def held(self) -> bool:
        return not self.lost


class Spawned(Local):
    """This machine, with a new Python for each body."""

    def __init__(self) -> None:
        super().__init__(forks=False)


@dataclass
class Sent:
    """A body that was sent to a place, and what came of it."""

    place: Launcher
    folder: Path
    said: list[str | Event] = field(default_factory=list)
    lease: Held = field(default_factory=lambda: Held(os.open(os.devnull, os.O_RDONLY)))

    @property
    def work(self) -> Workdir:
        return Workdir(self.folder / "store/_work/step/key")

    def run(self, step: Step, *inputs: Any, conf: Any = None) -> dict[str, Any]:
        self.work.make()
        job = JobFile.of(Call(step, inputs, conf), inputs, self.work, {"A_WORD": "hello"}, "step/key")
        job.write()
        return self.place.run(job, self.lease, Listener(self.folder / "log", self.said.append, self.said.append))

    def begin(self, step: Step, *inputs: Any) -> Callable[[], BaseException | None]:
        """Run it in a thread until the body is there; what waits for its end gives its error."""
        errors: list[BaseException | None] = []

        def run() -> None:
            try:
                self.run(step, *inputs)
                errors.append(None)
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        deadline = time.monotonic() + 60
        while not (self.work.scratch / "there").exists():
            assert thread.is_alive() and time.monotonic() < deadline, errors
            time.sleep(0.02)

        def end() -> BaseException | None:
            thread.join(60)
            return errors[0]

        return end

    def leaves_nothing(self) -> bool:
        """The process below the body is gone."""
        pid = int((self.work.scratch / "below").read_text())

        def gone() -> bool:
            try:
                return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
            except (FileNotFoundError, ProcessLookupError):
                return True

        return eventually(gone, limit=30)


@pytest.fixture(params=[Local, Spawned, Elsewhere, Carried])
def sent(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sent]:
    monkeypatch.setenv("FROMZERO_HOME", str(tmp_path))
    yield Sent(request.param(), tmp_path)
    stopping.clear()


def test_a_job_is_carried_out_and_its_statistics_come_back(sent: Sent, tmp_path: Path) -> None:
    (tmp_path / "made/content").mkdir(parents=True)
    (tmp_path / "made/content/text.txt").write_text("sum: ")
    made = Artifact("make", "k", "d", root=tmp_path / "made")
    stats = sent.run(bodies.add, made, 2, conf=bodies.BodyConf(add=3))
    assert (stats["sum"], stats["word"]) == (5, "hello") and stats["group"] != os.getpgrp()
    assert (sent.work.content / "sum.txt").read_text() == "sum: 5"


def test_a_job_is_data_with_nothing_of_the_run_in_it(sent: Sent) -> None:
    sent.run(bodies.speak, [])
    raw = json.loads((sent.work.root / "job.json").read_text())
    assert raw["entry"] == "tests.tasks.core.engine.bodies:speak" and raw["root"] == str(sent.work.root)
    assert raw["environ"].keys() == {"A_WORD", "FROMZERO_EVENTS"} and raw["resources"] == asdict(Cpu(1))
    assert str(os.getpid()) not in json.dumps({**raw, "environ": None, "code": None, "root": None})


def test_lines_and_events_arrive_in_order_and_no_line_is_an_event(sent: Sent) -> None:
    forged = ["step 3/9", "\x1e " + json.dumps({"kind": "progress", "done": 1, "total": 2}), "warning: none"]
    sent.run(bodies.speak, forged)
    told = Event("progress", 3, 9, "step", 1.0, 97_300.0)
    result, warning = Event("result", text="came out: step 8/9"), Event("warning", text="see to it")
    assert sent.said == [*forged, told, "between", result, warning]
    log = (sent.folder / "log").read_text().splitlines()
    assert log == [*forged[:1], *forged[1].splitlines(), forged[2], "between", "came out: step 8/9",
                   "warning: see to it"]  # fmt: skip


@pytest.mark.parametrize(
    ("what", "kind", "message"),
    [
        ("data", DataError, "the data are bad"),
        ("disk", HostError, "the disk is full"),
        ("bug", StepError, "nothing there"),
        ("kill", ChildKilled, r"exited without a status \(SIGKILL\)"),
    ],
)
def test_a_failure_comes_back_as_what_it_is(sent: Sent, what: str, kind: type[FromzeroError], message: str) -> None:
    with pytest.raises(kind, match=message) as failed:
        sent.run(bodies.fail, what)
    assert type(failed.value) is kind


def test_a_body_that_takes_too_long_is_ended_with_all_below_it(sent: Sent) -> None:
    with pytest.raises(StepError, match="took longer than its 10 s"):
        sent.run(bodies.stay, False)
    assert (sent.work.scratch / "saved").exists() and sent.leaves_nothing()


def test_a_body_whose_lease_is_lost_is_ended_with_all_below_it(sent: Sent) -> None:
    end = sent.begin(UNLIMITED, False)
    sent.lease.lost = True
    error = end()
    assert isinstance(error, ChildKilled) and "taken over" in str(error)
    assert (sent.work.scratch / "saved").exists() and sent.leaves_nothing()


@pytest.mark.parametrize("stubborn", [False, True])
def test_cancelled_bodies_save_and_stop_or_are_ended_after_the_grace_time(sent: Sent, stubborn: bool) -> None:
    end = sent.begin(UNLIMITED, stubborn)
    sent.place.cancel(grace=20.0 if not stubborn else 0.5)
    how = "SIGKILL" if stubborn else "exit code 3"
    error = end()
    assert isinstance(error, ChildKilled) and f"without a status ({how})" in str(error)
    assert (sent.work.scratch / "saved").exists() is not stubborn and sent.leaves_nothing()


def test_no_body_outlives_its_run_however_that_ends(sent: Sent) -> None:
    code = f"""
from pathlib import Path
from {type(sent.place).__module__} import {type(sent.place).__name__} as Place
from tests.tasks.core.engine.test_launcher import UNLIMITED, Sent
Sent(Place(), Path({str(sent.folder)!r})).run(UNLIMITED, True)
"""
    run = subprocess.Popen(interpreter.command("-c", code), env=interpreter.environment(), start_new_session=True)
    assert eventually(lambda: (sent.work.scratch / "there").exists() or run.poll() is not None)
    assert run.poll() is None
    run.kill()
    run.wait()
    assert sent.leaves_nothing()


def test_a_body_that_is_killed_leaves_its_place_ready_for_the_next(sent: Sent) -> None:
    with pytest.raises(ChildKilled):
        sent.run(bodies.fail, "kill")
    assert sent.run(bodies.speak, ["again"]) == {} and "again" in sent.said


def test_a_step_runs_in_the_place_that_the_options_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"local": "tasks.core.engine.places.local", "elsewhere": "tests.tasks.core.engine.elsewhere"}
    monkeypatch.setattr(plugins, "names", lambda package, group, door="": found)
    store = Store(LocalBackend(tmp_path / "store"))

    def placing(**places: str) -> Placing:
        return Placing(EngineConf(cpus=1, places=places))

    named, gpu = placing(speak="elsewhere"), replace(bodies.fail, resources=Resources(gpu=1))
    assert isinstance(named.of(bodies.speak), Elsewhere) and isinstance(named.of(bodies.fail), Local)
    assert isinstance(placing(engine="elsewhere").of(bodies.fail), Elsewhere)
    of_gpus = placing(gpu="elsewhere")
    assert isinstance(of_gpus.of(gpu), Elsewhere) and isinstance(of_gpus.of(bodies.fail), Local)
    rest = placing(rest="elsewhere", fail="local")
    assert isinstance(rest.of(bodies.speak), Elsewhere) and isinstance(rest.of(gpu), Local)
    assert isinstance(rest.of(replace(bodies.speak, effect=True)), Local)
    assert list(placing(pretrian="elsewhere", gpu="local").unknown([replace(bodies.speak, part_of="pretrain")])) == [
        "engine.places.pretrian: this run has no step and no stage of that name; did you mean pretrain?"
    ]
    workspace, work = Workspace(store, print, named), Workdir(tmp_path / "work")
    work.make()
    job, lines = Job(Call(bodies.speak, (["hello"],)), "k", {}, Outcome("speak", None)), list[str]()
    with named.slots.take(Cpu(1)):  # it takes none of this machine's
        workspace.run(job, work, FileLease(0), tmp_path / "log", {}, lines.append)
    assert lines == ["hello", "between"]


def test_a_body_that_wants_several_machines_is_refused_where_they_do_not_come_together(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {
        "local": "tasks.core.engine.places.local",
        "elsewhere": "tests.tasks.core.engine.elsewhere",
        "pool": "tasks.core.engine.places.pool",
    }
    monkeypatch.setattr(plugins, "names", lambda package, group, door="": found)
    several = [(replace(bodies.speak, resources=Resources(nodes=2)), "speak")]
    Placing().check(several)  # people start the others
    with pytest.raises(HostError, match=r"speak asks for 2 machines, .* let engine\.places\.speak be a pool"):
        Placing(EngineConf(places={"speak": "elsewhere"})).check(several)
    with pytest.raises(HostError, match=r"store=s3 store\.bucket=NAME"):
        Placing(EngineConf(places={"speak": "pool:gpu"})).check(several)


def test_a_place_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"engine\.places: there is no place 'locale'; did you mean local\?"):
        Placing(EngineConf(places={"pretrain": "locale"}))
    with pytest.raises(ConfigError, match="there is one place local only"):
        Placing(EngineConf(places={"pretrain": "local:2"}))
    assert isinstance(launcher.place("local"), Local)
