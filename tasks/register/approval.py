"""A person's approval of a model that the gate has accepted: asked for by a form in Prefect's pages."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from typing import Any

from tasks.core.errors import ConfigError
from tasks.core.services import links, prefect_api, servers
from tasks.core.store.open import home
from tasks.register.mlflow_reader import ModelVersion

STATE, UNTIL, REASON, RUN = (f"fromzero.approval{part}" for part in ("", ".until", ".reason", ".flow_run"))
"""Tags of a version: waiting, approved or refused; the answer's deadline; its reason; the flow run with the form."""
DEPLOYMENT = "approval/approval"
"""Prefect's name of the flow that asks: made by `fromzero up` and `fromzero deploy`."""
SLACK = timedelta(seconds=20)
"""How long after the deadline the refusal is written: Prefect gives up the form itself a few seconds after it."""


def form() -> dict[str, Any]:
    """Prefect's record of the asking flow; raises `ConfigError` where there is none, or no worker to serve it."""
    url = os.environ.get("PREFECT_API_URL")
    found = prefect_api.ask(url, f"deployments/name/{DEPLOYMENT}") if url else None
    if url is None or found is None or not _served(url, found.get("work_pool_name")):
        raise ConfigError(
            "approval.by=human asks by a form in Prefect's pages, and there is nobody to serve it: `fromzero up` "
            "first (or PREFECT_API_URL of a server that `fromzero deploy` has prepared and a worker serves), or "
            "approval.by=gate"
        )
    return dict(found)


def _served(url: str, pool: str | None) -> bool:
    workers = prefect_api.ask(url, f"work_pools/{pool}/workers/filter", {}) if pool else None
    return pool is None or any(worker["status"] == "ONLINE" for worker in workers or ())


def ask(version: ModelVersion, hours: float, rows: list[tuple[str, str]]) -> dict[str, str]:
    """Put the question; the tags that say so. At the deadline a second run of the flow writes the refusal."""
    url, deployment = os.environ["PREFECT_API_URL"], form()["id"]
    until = datetime.now(UTC) + timedelta(hours=hours)
    given = {"name": version.name, "version": version.version, "hours": hours, "rows": rows}
    given["store"] = json.loads(os.environ.get("FROMZERO_STORE", "null"))
    asked = prefect_api.ask(url, f"deployments/{deployment}/create_flow_run", {"parameters": given})
    late = {"type": "SCHEDULED", "state_details": {"scheduled_time": (until + SLACK).isoformat()}}
    late_given = {**given, "asked": asked["id"]}
    prefect_api.ask(url, f"deployments/{deployment}/create_flow_run", {"parameters": late_given, "state": late})
    return {STATE: "waiting", UNTIL: until.isoformat(timespec="seconds"), RUN: asked["id"]}


def expired(version: ModelVersion) -> bool:
    """It waits, and its time is over."""
    until = version.tags.get(UNTIL)
    waits = version.tags.get(STATE) == "waiting" and until is not None
    return waits and datetime.now(UTC) > datetime.fromisoformat(str(until))


def waiting(version: ModelVersion) -> dict[str, Any] | None:
    """What a run says of a version that waits for an answer: until when, and where the form is; None if none does."""
    if version.tags.get(STATE) != "waiting" or expired(version) or _lost(version):
        return None
    page = links.flow_run(home(), str(version.tags.get(RUN)))
    told = (
        f"{version.name} version {version.version} was accepted by the gate and awaits approval until "
        f"{version.tags[UNTIL]}: {page} has the form (Resume), or `fromzero promote {version.name} {version.version}`"
    )
    return {"waiting": True, "until": version.tags[UNTIL], "form": page, "message": told}


def _lost(version: ModelVersion) -> bool:
    """The form is gone: its run was cancelled, has crashed, or belongs to another server. A plan does not look."""
    url = os.environ.get("PREFECT_API_URL")
    if not url:
        return False
    run = prefect_api.ask(url, f"flow_runs/{version.tags.get(RUN)}")
    return run is None or run["state_type"] not in ("SCHEDULED", "PENDING", "RUNNING", "PAUSED")


def end_form(version: ModelVersion, why: str) -> None:
    """Nobody is asked any more: the form is taken away, where its server runs."""
    found = servers.running(home())
    url = os.environ.get("PREFECT_API_URL") or (found["url"] if found else None)
    run = version.tags.get(RUN)
    if url is None or run is None:
        return
    asking = prefect_api.ask(url, f"flow_runs/{run}")
    if asking is not None and asking["state_type"] in ("PAUSED", "FAILED"):
        ended = {"type": "COMPLETED", "name": "Answered", "message": why}
        prefect_api.ask(url, f"flow_runs/{run}/set_state", {"state": ended, "force": True})
