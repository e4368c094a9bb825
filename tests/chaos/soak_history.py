"""Runs of the toy flow that end by themselves, again and again: Prefect has every task run of each in its final state.

`python -m tests.chaos.soak_history [TIMES]`: so often a cached run, one that fails, one that is refused, one that is
cancelled and one that is interrupted. Each brings a server of its own; what that has left in its database is read after
it was stopped, and all of it is asked of a server that is started in the end.
`python -m tests.chaos.soak_history TIMES HOME RECIPE`: so often a re-run of a recipe in a home, instead.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.core import liveness
from tasks.core.services import prefect_api, servers
from tasks.core.services.final_states import ENDED

ROOT = Path(__file__).parents[2]
TEXTS = [f"shard-{number:02d}=text" for number in range(25)]
"""With them the toy flow has 52 steps."""
BEGUN = ("make[shard-03]", "shout[shard-01]", "join")
"""Where runs are interrupted or cancelled."""
LASTING = ("Completed", "Cached", "Failed", "Refused", "Cancelled")
"""In which states the task runs of a run that ends by itself end."""
Stop = Callable[[Path, subprocess.Popen[bytes]], Any]
"""How a run of a home is stopped."""


@dataclass
class Seen:
    """What Prefect has of a home's runs that ended."""

    home: Path
    runs: set[str] = field(default_factory=set)

    def new(self) -> tuple[str, Counter[str]]:
        """State of the newest run, and how many task runs are in which state: what a server started now would read."""
        while servers.running(self.home) is not None:
            time.sleep(0.05)
        with closing(sqlite3.connect(self.home / "prefect/prefect.db")) as base:
            found = base.execute("SELECT id, state_name FROM flow_run").fetchall()
            ((run, state),) = [row for row in found if row[0] not in self.runs]
            self.runs.add(run)
            tasks = base.execute("SELECT state_name FROM task_run WHERE flow_run_id = ?", (run,)).fetchall()
        return state, Counter(name for (name,) in tasks)

    def known(self) -> None:
        """Those so far are looked at."""
        while servers.running(self.home) is not None:
            time.sleep(0.05)
        with closing(sqlite3.connect(self.home / "prefect/prefect.db")) as base:
            self.runs |= {run for (run,) in base.execute("SELECT id FROM flow_run")}


def environ(home: Path, **more: str) -> dict[str, str]:
    """A process of that home which brings its own server."""
    given = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    return {**given, "FROMZERO_HOME": str(home), **more}


def interrupt(home: Path, run: subprocess.Popen[bytes]) -> None:
    """As by Ctrl-C."""
    run.send_signal(signal.SIGINT)


def cancel(home: Path, run: subprocess.Popen[bytes]) -> None:
    """As by the button in Prefect."""
    (about,) = liveness.living(home)
    if why := prefect_api.cancel(about["server"], about["run"], "the soak"):
        raise SystemExit(f"not to be cancelled: {why}")


def toy(home: Path, *words: str, at: str = "", stop: Stop = interrupt, **more: str) -> int:
    """One run of the toy flow, stopped when the step `at` begins; how many of its steps began or were reused."""
    log = home / "stderr"
    with log.open("w") as file:
        command = [sys.executable, "-m", "tests.toy_run", *words]
        run = subprocess.Popen(command, cwd=ROOT, env=environ(home, **more), stdout=subprocess.PIPE, stderr=file)
        while at and run.poll() is None:
            if f"> {at}\n" in log.read_text():
                stop(home, run)
                break
            time.sleep(0.02)
        else:
            if at:
                raise SystemExit(f"the run ended before {at} began, or did not say so: it was never stopped")
        out, _ = run.communicate(timeout=900)
    if not out:  # it was stopped
        return log.read_text().count("\n> ")
    return sum(step["attempts"] > 0 or step["state"] == "cached" for step in json.loads(out)["outcomes"])


def check(what: str, state: str, states: Counter[str], wanted: str, steps: int, more: bool = False) -> list[str]:
    """What is wrong with a run's history: `wanted` are the states that it may be in (A or B); `more` task runs than
    known `steps` may have begun."""
    wrong = [] if state in wanted.split(" or ") else [f"the run is {state}, not {wanted}"]
    lasting = sum(count for name, count in states.items() if name in LASTING)
    wrong += [] if lasting == states.total() else [f"task runs that have not ended: {dict(states)}"]
    there = states.total() >= steps if more else states.total() == steps
    wrong += [] if there else [f"{states.total()} of {steps} task runs are there"]
    print(f"{what:24} {state:10} {states.total():3} task runs {dict(states)} {'; '.join(wrong)}", flush=True)
    return wrong


def toys(seen: Seen, number: int) -> list[str]:
    """A run of each kind: fresh, cached, failed, refused, cancelled, interrupted."""
    home, wrong = seen.home, list[str]()
    if number == 0:
        steps = toy(home, "one", "0", *TEXTS)
        wrong += check("fresh", *seen.new(), "Completed", steps)
    steps = toy(home, "one", "0", *TEXTS)
    wrong += check("cached", *seen.new(), "Unchanged", steps)
    steps = toy(home, "one", "0", f"x{number}=BAD", *TEXTS)
    wrong += check("failed", *seen.new(), "Failed", steps)
    steps = toy(home, "one", "0", *TEXTS, TOY_JUDGED="1")
    wrong += check("refused", *seen.new(), "Refused", steps)
    for how, stop in (("cancelled", cancel), ("interrupted", interrupt)):
        at = BEGUN[number % len(BEGUN)]
        steps = toy(home, "one", "30", *TEXTS, at=at, stop=stop, TOY_REFRESH=at.partition("[")[0])
        ends_first = how == "cancelled" and at == "join"  # the rest of it takes less time than Prefect's answer
        wanted = "Cancelled or Completed" if ends_first else "Cancelled"
        wrong += check(f"{how} at {at}", *seen.new(), wanted, steps, more=True)
    return wrong


def asked(home: Path) -> list[str]:
    """What is wrong with all of a home's history, asked of a server that is started now."""
    member, wrong = servers.Membership(home), list[str]()
    try:
        for path in ("flow_runs", "task_runs"):
            total = int(prefect_api.ask(member.url(), f"{path}/count", {}))
            chosen = {path: {"state": {"type": {"any_": list(ENDED)}}}}
            ended = int(prefect_api.ask(member.url(), f"{path}/count", chosen))
            print(f"asked of a server started now: {ended} of {total} {path} have ended", flush=True)
            wrong += [] if ended == total else [f"{total - ended} of {total} {path} have not ended"]
    finally:
        member.leave()
    return wrong


def rerun(home: Path, recipe: str) -> tuple[int, float]:
    """One run of a recipe; its number of steps and seconds."""
    began = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-m", "flows.cli.main", "run", recipe, "--json"],
        cwd=ROOT,
        env=environ(home),
        capture_output=True,
    )
    found: dict[str, Any] = json.loads(ran.stdout)
    return len(found["steps"]), time.monotonic() - began


def main(times: int, home: str = "", recipe: str = "") -> int:
    """So often; 1 if anything was missing."""
    wrong = list[str]()
    with tempfile.TemporaryDirectory() as folder:
        seen = Seen(Path(home or folder).absolute())
        os.environ["FROMZERO_HOME"] = str(seen.home)  # whose password is shown
        if recipe:
            rerun(seen.home, recipe)
            seen.known()
        for number in range(times):
            if recipe:
                steps, seconds = rerun(seen.home, recipe)
                wrong += check(f"{recipe} {seconds:.2f} s", *seen.new(), "Unchanged", steps)
            else:
                wrong += toys(seen, number)
        wrong += asked(seen.home)
        seen.known()
    print(f"{times} times: {len(wrong)} wrong {wrong[:5]}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(int(next(iter(sys.argv[1:]), "50")), *sys.argv[2:]))
