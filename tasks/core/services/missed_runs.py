"""Times of schedules that passed while nothing was up: the last of each deployment is made up for, no other."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import Any

from tasks.core.services import prefect_api

PAGE = 200
"""Runs in one answer, at most: Prefect's own limit."""
MISSED = {"type": "CANCELLED", "name": "Missed", "message": "nothing was up at its time; a later one stands for it"}


def once(url: str, now: datetime) -> int:
    """Of the runs that a schedule has set for times before `now`, and no worker took, leave each deployment the last.

    Returns how many are called Missed. Runs that somebody asked for are left alone.
    """
    waiting: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for run in _late(url, now):
        waiting[run["deployment_id"]].append(run)
    missed = [run for runs in waiting.values() for run in sorted(runs, key=_time)[:-1]]
    for run in missed:
        prefect_api.ask(url, f"flow_runs/{run['id']}/set_state", {"state": MISSED, "force": True})
    return len(missed)


def _late(url: str, now: datetime) -> list[dict[str, Any]]:
    chosen = {
        "state": {"type": {"any_": ["SCHEDULED"]}},
        "expected_start_time": {"before_": now.isoformat()},
        "deployment_id": {"is_null_": False},
    }
    found: list[dict[str, Any]] = []
    wanted = {"flow_runs": chosen, "limit": PAGE, "sort": "EXPECTED_START_TIME_ASC"}
    while page := prefect_api.ask(url, "flow_runs/filter", {**wanted, "offset": len(found)}):
        found += page
    return [run for run in found if run["auto_scheduled"]]


def _time(run: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(run["expected_start_time"])
