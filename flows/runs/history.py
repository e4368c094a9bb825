"""The runs of a home: under way, ended, and gone without a status; their logs."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.core import liveness
from tasks.core.errors import ConfigError
from tasks.core.store.store import Store
from tasks.formats.metrics import valued
from tasks.models import kind as kinds

UNDER_WAY = ("running", "lost")
LAST = "last"


@dataclass(frozen=True)
class Run:
    """One run as a list shows it."""

    run: str
    name: str
    recipe: str
    state: str
    """running; completed, refused, reached, failed or interrupted; lost: it vanished."""
    started: float | None
    """Unix time in seconds."""
    seconds: float | None
    made: int | None
    """Steps that it made; None where there is no record (yet)."""
    cached: int | None
    metric: dict[str, Any] | None
    """The primary metric: step, name, value, and low and high where there is an interval."""
    pid: int | None = None

    @property
    def id(self) -> str:
        """As much of the id as a person types."""
        return liveness.short(self.run)


def runs(home: Path, store: Store, now: float | None = None) -> list[Run]:
    """Every run that is known, newest first; runs under way are those of this home on this machine."""
    records = [ended(record) for record in store.runs().values()]
    known = {run.run for run in records}
    now = time.time() if now is None else now
    announced = [(about, "running") for about in liveness.living(home)] + [
        (about, "lost") for about in liveness.dead(home)
    ]
    present = [_announced(about, state, now) for about, state in announced if about["run"] not in known]
    known |= {run.run for run in present}
    silent = [_announced({"run": run, "started": at}, "lost", now) for run, at in _logged(home) if run not in known]
    return sorted([*records, *present, *silent], key=lambda run: run.started or 0.0, reverse=True)


def _logged(home: Path) -> Iterator[tuple[str, float]]:
    """Runs that have written logs, and when their first line or step came."""
    for folder in (home / "logs").glob("*/"):
        if not _is_run(folder.name):  # the services log here too
            continue
        if times := [path.stat().st_mtime for path in folder.glob("*.log")]:
            yield folder.name, min(times)


def _is_run(name: str) -> bool:
    try:
        return bool(uuid.UUID(name))
    except ValueError:
        return False


def ended(record: dict[str, Any]) -> Run:
    """A record as a row."""
    states = [step["state"] for step in record["steps"]]
    return Run(
        record["run"], record["name"], record["recipe"], record["state"], record["started"], record["seconds"],
        states.count("completed"), states.count("cached"), primary_metric(record),
    )  # fmt: skip


def _announced(about: dict[str, Any], state: str, now: float) -> Run:
    started = about.get("started")
    seconds = now - started if started is not None and state == "running" else None
    name, recipe = about.get("name") or "", about.get("recipe") or ""
    return Run(about["run"], name, recipe, state, started, seconds, None, None, None, about.get("pid"))


def find(known: list[Run], ref: str) -> Run:
    """The run that an id, the start of one, a name or `last` means; raises `ConfigError` for none and for several."""
    if not known:
        raise ConfigError("there is no run here yet: `fromzero run demo` makes one, FROMZERO_HOME says where to look")
    if ref == LAST:
        return known[0]
    found = [run for run in known if ref == run.name] or [
        run for run in known if run.id.startswith(ref) or run.run.startswith(ref)
    ]
    if len(found) == 1:
        return found[0]
    shown = "\n".join(f"  {run.id}  {run.name}  {run.state}" for run in (found or known)[:10])
    if not found:
        raise ConfigError(
            f"there is no run {ref!r}; `last`, a name or the start of an id is meant. The newest:\n{shown}"
        )
    raise ConfigError(f"{ref!r} means {len(found)} runs; give more of the id:\n{shown}")


def is_running(home: Path, run: str) -> bool:
    """Whether a run's process lives on this machine."""
    return any(about["run"] == run for about in liveness.living(home))


def primary_metric(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """What stands for the first evaluation of a model, or for the first step that measured anything."""
    found = record.get("metrics") or {}
    steps = {label: label.partition("[")[0] for label in found}
    label = next((one for one in found if kinds.evaluated_by(steps[one])), next(iter(found), None))
    name = kinds.headline(steps[label], found[label]) if label else None
    return None if label is None or name is None else {"step": label, "name": name, **valued(found[label], name)}


def record_of(store: Store, home: Path, ref: str) -> dict[str, Any]:
    """The record of a run that has ended; raises `ConfigError` if it is still under way or left none."""
    found = find(runs(home, store), ref)
    if found.state in UNDER_WAY:
        why = "is still under way: wait for its end" if found.state == "running" else "went without leaving a record"
        raise ConfigError(f"run {found.id} ({found.name}) {why}")
    return next(record for record in store.runs().values() if record["run"] == found.run)


# logs


@dataclass(frozen=True)
class Line:
    """One line of a step's log."""

    label: str
    text: str


class Logs:
    """The log files of one run, read as far as they have been written."""

    def __init__(self, home: Path, run: str, step: str | None = None) -> None:
        """`step` takes the logs of one step, all its shards, or of one label (STEP[SHARD])."""
        self.folder, self.step = home / "logs" / run, step
        self._read: dict[Path, int] = {}

    def labels(self) -> list[str]:
        """What has a log, in the order of the last lines."""
        return [path.stem for path in self._files() if self._wanted(path.stem)]

    def check(self) -> None:
        """Raise `ConfigError`, with what there is, if there is nothing to read."""
        if self.labels():
            return
        there = sorted({path.stem.partition("[")[0] for path in self._files()})
        if not there:
            raise ConfigError(f"this run has no logs in {self.folder}: it made nothing, or ran on another machine")
        raise ConfigError(f"this run has no log of {self.step!r}; there are: {', '.join(there)}")

    def lines(self) -> Iterator[Line]:
        """The whole lines that were written since the last call."""
        for path, data in self._unread():
            whole = data[: data.rfind(b"\n") + 1]
            self._read[path] = self._read.get(path, 0) + len(whole)
            yield from (Line(path.stem, text) for text in whole.decode(errors="replace").splitlines())

    def rest(self) -> Iterator[Line]:
        """What follows the last line break: of a writer that was cut off."""
        yield from (Line(path.stem, left.decode(errors="replace")) for path, left in self._unread() if left)

    def _unread(self) -> Iterator[tuple[Path, bytes]]:
        for path in self._files():
            if self._wanted(path.stem):
                with path.open("rb") as file:
                    file.seek(self._read.get(path, 0))
                    yield path, file.read()

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("*.log"), key=lambda path: (path.stat().st_mtime, path.name))

    def _wanted(self, label: str) -> bool:
        return self.step is None or self.step in (label, label.partition("[")[0])
