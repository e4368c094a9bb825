"""The report's part about effort: time, energy and cost by step, the environment, how to make it again."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from conf.schema.engine import EngineConf
from tasks.core.artifact import Manifest
from tasks.core.plan.costs import Prices
from tasks.views.run_data import Run, Step


@dataclass(frozen=True)
class Effort:
    """A step over all shards: what was spent on it up to this run's end, in earlier runs that were interrupted too, and
    what the artifacts that the run reused had cost before."""

    name: str
    states: dict[str, int]
    """How many shards ended in each state."""
    seconds: float
    core_seconds: float
    watt_hours: float
    cost: float | None
    """None if the price of something that it took is not set."""
    reused_seconds: float
    attempts: int
    lost: int
    """Artifacts that are not in the store any more."""


def prices(config: Mapping[str, Any]) -> Prices:
    """Those of a run's own configuration; none for a record without one."""
    engine = config.get("engine") or {}
    names = ("price_per_core_hour", "price_per_device_hour", "currency")
    return Prices.of(EngineConf().model_copy(update={name: engine[name] for name in names if name in engine}))


def watts(run: Run) -> float:
    """What a core draws, by the run's own configuration; the default of today for a record without one."""
    return float((run.config.get("engine") or {}).get("watts_per_core") or EngineConf().watts_per_core)


def efforts(run: Run) -> list[Effort]:
    """A row for each step, in the order of the run."""
    groups: dict[str, list[Step]] = {}
    for step in run.steps:
        groups.setdefault(step.name, []).append(step)
    given, drawn = prices(run.config), watts(run)
    return [_effort(name, steps, given, drawn) for name, steps in groups.items()]


def total(rows: Iterable[Effort]) -> Effort:
    """The sum of all rows."""
    rows = list(rows)
    states: Counter[str] = Counter()
    for row in rows:
        states.update(row.states)
    return Effort(
        "all steps", states, sum(r.seconds for r in rows), sum(r.core_seconds for r in rows),
        sum(r.watt_hours for r in rows), _sum([r.cost for r in rows]),
        sum(r.reused_seconds for r in rows), sum(r.attempts for r in rows), sum(r.lost for r in rows),
    )  # fmt: skip


def _effort(name: str, steps: list[Step], given: Prices, watts: float) -> Effort:
    made = [step for step in steps if step.state != "cached"]
    core_seconds = sum(step.seconds * _cores(step.manifest) for step in made)
    return Effort(
        name=name,
        states=Counter(step.state for step in steps),
        seconds=sum(step.seconds for step in made),
        core_seconds=core_seconds,
        watt_hours=core_seconds * watts / 3600,
        cost=_sum([given.cost(s.seconds, s.manifest.made_by if s.manifest else {}) for s in made if s.seconds])
        if given.known
        else None,
        reused_seconds=sum(
            float(s.manifest.made_by.get("seconds") or 0) for s in steps if s.state == "cached" and s.manifest
        ),
        attempts=sum(step.attempts for step in made),
        lost=sum(bool(step.lost) for step in steps),
    )


def _sum(costs: list[float | None]) -> float | None:
    known = [cost for cost in costs if cost is not None]
    return sum(known) if len(known) == len(costs) else None


def _cores(manifest: Manifest | None) -> int:
    return int(manifest.made_by.get("cpus") or 1) if manifest else 1


def environment(run: Run) -> list[dict[str, Any]]:
    """Where the artifacts were made: each combination of host, device, Python and commit, with how many."""
    seen: dict[str, dict[str, Any]] = {}
    for manifest in run.manifests():
        made = manifest.made_by
        git = made.get("git") or {}
        about = {
            "host": made.get("host") or "unknown",
            "device": made.get("device") or "unknown",
            "processes": made.get("world_size") or 1,
            "python": made.get("python") or "not recorded",
            "commit": git.get("commit"),
            "dirty": bool(git.get("dirty")),
        }
        row = seen.setdefault(json.dumps(about, sort_keys=True), {**about, "artifacts": 0, "run": 0})
        row["artifacts"] += 1
        row["run"] += made.get("flow_run") == run.record.get("run")
    return sorted(seen.values(), key=lambda row: (-row["run"], -row["artifacts"]))


def libraries(run: Run) -> dict[str, list[str]]:
    """The versions of the libraries that the keys of the artifacts name; more than one if artifacts differ."""
    found: dict[str, set[str]] = {}
    for manifest in run.manifests():
        for name, value in (manifest.made_by.get("code") or {}).items():
            if "/" not in name and not name.startswith(("tasks.", "flows.", "conf.")):
                found.setdefault(name, set()).add(str(value))
    return {name: sorted(versions) for name, versions in sorted(found.items())}


def commit(run: Run) -> tuple[str | None, bool]:
    """The commit at which the run stood, and whether the tree had changes beside it."""
    rows = environment(run)
    git = run.record.get("git") or {}
    if git.get("commit"):
        return git["commit"], bool(git.get("dirty"))
    return (rows[0]["commit"], rows[0]["dirty"]) if rows else (None, False)
