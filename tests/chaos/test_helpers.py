"""The processes that help a run, really killed: each is started again, and the run ends as if nothing had been."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import psutil
import pytest

from tasks.core import liveness
from tasks.core.services import servers
from tests.toy_process import ROOT, Toy, eventually

TEXTS = ("a=hello", "b=world")
STEPS = 6
LASTING = {"Completed", "Cached", "Failed", "Cancelled", "Crashed"}


def states(home: Path) -> dict[str, Counter[str]]:
    """How many task runs are in which state, by the state of their run, after the server has stopped."""
    assert eventually(lambda: servers.running(home) is None)
    query = "SELECT flow_run.state_name, task_run.state_name FROM task_run JOIN flow_run ON flow_run_id = flow_run.id"
    found: dict[str, Counter[str]] = {}
    with closing(sqlite3.connect(home / "prefect/prefect.db")) as base:
        for run, state in base.execute(query):
            found.setdefault(run, Counter())[state] += 1
    return found


def keeper(home: Path) -> psutil.Process | None:
    """The process that keeps the servers."""
    found = servers.running(home)
    return psutil.Process(found["pid"]) if found else None


def guard(home: Path) -> psutil.Process | None:
    """The process between the keeper and Prefect's server."""
    found = servers.running(home)
    pid = found["services"]["prefect"]["pid"] if found else None
    return psutil.Process(pid) if pid else None


def prefect(home: Path) -> psutil.Process | None:
    """Prefect's server."""
    above = guard(home)
    below = [child for child in above.children() if "uvicorn" in child.cmdline()] if above else []
    return below[0] if below else None


def training(home: Path) -> bool:
    """A model is being trained."""
    return any((home / "store/_work/train").glob("*/scratch/progress"))


def begun(home: Path) -> bool:
    """The run has been announced."""
    return bool(liveness.living(home))


def starting(home: Path) -> bool:
    """A keeper is there, whatever its server does."""
    return servers.running(home) is not None


def killed(home: Path, victim: Callable[[Path], psutil.Process | None]) -> bool:
    """Whether there was such a process to kill."""
    with suppress(psutil.NoSuchProcess):
        if (found := victim(home)) is not None:
            found.kill()
            return True
    return False


@pytest.mark.parametrize(
    ("victim", "moment"),
    [(keeper, starting), (keeper, training), (guard, begun), (prefect, begun), (prefect, training)],
)
def test_a_helper_that_is_killed_is_started_again_and_the_run_goes_on(
    home: Path, victim: Callable[[Path], psutil.Process | None], moment: Callable[[Path], bool]
) -> None:
    toy = Toy(home, "", *TEXTS, pause=0.1)
    toy.until(lambda: moment(home))

    toy.until(lambda: killed(home, victim))
    found = toy.wait()
    assert found["state"] == "completed", found["error"]
    assert states(home) == {"Completed": Counter({"Completed": STEPS})}
    assert liveness.dead(home) == liveness.living(home) == []
    assert eventually(lambda: not helpers(home)), helpers(home)


@pytest.mark.parametrize(
    "victims", [(), (keeper,), (prefect,)], ids=["the run", "the run and its keeper", "the run and the server"]
)
def test_a_run_goes_on_when_the_one_whose_server_it_has_joined_is_killed(
    home: Path, prefect_url: str, victims: tuple[Callable[[Path], psutil.Process | None], ...]
) -> None:
    first = Toy(home, "", "a=first", word="first", TOY_STAY_AT="2")
    first.until(lambda: training(home))
    second = Toy(home, "", *TEXTS, pause=0.1)
    second.until(lambda: len(liveness.living(home)) == 2)
    first.kill()
    for victim in victims:
        second.until(partial(killed, home, victim))
    found = second.wait()
    assert found["state"] == "completed", found["error"]
    assert eventually(lambda: not helpers(home)), helpers(home)

    third = Toy(home, "", "a=first", word="first").wait()
    assert third["states"] == {"make[a]": "cached", "shout[a]": "cached", "join": "cached", "train": "completed"}
    history = states(home)
    assert history.pop("Completed") == Counter({"Completed": STEPS + 1, "Cached": 3})
    assert history.keys() == {"Crashed"} and history["Crashed"].keys() <= {"Completed", "Crashed"}, history
    assert liveness.dead(home) == liveness.living(home) == []
    alone = Toy(home.with_name("another"), prefect_url, *TEXTS).wait()
    assert [o["digest"] for o in found["outcomes"]] == [o["digest"] for o in alone["outcomes"]]


def helpers(home: Path) -> list[str]:
    """Keepers, guards and servers of this home that live."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            words = process.info["cmdline"] or []
            if (
                process.info["status"] != psutil.STATUS_ZOMBIE
                and "tasks.core.services.supervisor" in words
                and str(home) in words
            ):
                found.append(" ".join(words))
    return found


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A home on a disk of 7 MB; where none can be mounted there is nothing to test."""
    home = tmp_path / "small"
    home.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=7m", "tmpfs", str(home)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield home
    subprocess.run(["umount", "-l", str(home)], check=True)


def lasting(home: Path) -> None:
    """Every run that Prefect knows, and every task run of it, has ended."""
    with closing(sqlite3.connect(home / "prefect/prefect.db")) as base:
        for table in ("flow_run", "task_run"):
            found = {name for (name,) in base.execute(f"SELECT DISTINCT state_name FROM {table}")}
            assert found <= LASTING | {"Unchanged"}, (table, found)


def test_what_a_full_disk_kept_from_prefect_is_told_by_the_next_run(small: Path) -> None:
    assert Toy(small, "", "a=hello").wait()["state"] == "completed"
    run = Toy(small, "", *TEXTS, pause=0.3)
    run.until(lambda: begun(small))
    filler = small / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"." * 4096)
    with suppress(AssertionError):  # it may say how it ended, or be unable to say anything
        run.wait()
    filler.unlink()
    assert Toy(small, "", *TEXTS, word="two").wait()["state"] == "completed"
    states(small)
    lasting(small)
    assert liveness.dead(small) == []


def test_what_a_limit_of_file_sizes_kept_from_prefect_is_told_by_the_next_run(home: Path) -> None:
    assert Toy(home, "", "a=hello").wait()["state"] == "completed"
    states(home)
    limit = (home / "prefect/prefect.db").stat().st_size
    script = f"""
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))
from tests.toy_run import main
sys.exit(main("two", "0", "a=hello", "b=world"))
"""
    environ = {**os.environ, "FROMZERO_HOME": str(home), "PREFECT_API_URL": ""}
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=environ, capture_output=True, timeout=900)
    assert eventually(lambda: servers.running(home) is None)
    assert Toy(home, "", *TEXTS, word="three").wait()["state"] == "completed"
    states(home)
    lasting(home)
    assert liveness.dead(home) == []
