"""Prefect's REST interface, for looks that must not take the seconds that importing Prefect takes."""

from __future__ import annotations

import base64
import json
import os
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any

from tasks.core.errors import HostError, Transient
from tasks.core.services import access
from tasks.core.services.server_record import recorded_url
from tasks.core.store.open import home
from tasks.core.urls import bare

BUSY = (429, 503)
"""What a server answers whose database is just being written by another request."""
PAUSES = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds between tries then: SQLite on a disk that stalls is busy for as long as the disk is."""
PATIENCE = 75.0
"""Seconds to wait for one answer: a request to a server on SQLite waits up to 60 for its turn to write."""


def ask(url: str, path: str, body: dict[str, Any] | list[Any] | None = None, method: str | None = None) -> Any:
    """GET, or POST (or `method`) `body`, to PATH of the API at `url`; the answer's JSON, None if nothing is there.

    A server whose database is busy is asked again for half a minute. Raises `Transient` if it does not answer,
    `HostError` if it refuses.
    """
    for pause in (*PAUSES, None):
        try:
            return _ask(url, path, body, method)
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            if error.code not in BUSY or pause is None:
                kind = Transient if error.code in BUSY else HostError
                said = error.read().decode(errors="replace")[:300]
                raise kind(f"Prefect at {bare(url)} answers {error.code} to {path}: {said}") from error
            time.sleep(pause)
        except (OSError, ValueError, HTTPException) as error:
            why = getattr(error, "reason", error)
            raise Transient(
                f"no Prefect server answers at {bare(url)} ({why}): `fromzero up` starts one, or let PREFECT_API_URL "
                "name one that runs"
            ) from error
    raise AssertionError("the last try returns or raises")


def _ask(url: str, path: str, body: dict[str, Any] | list[Any] | None, method: str | None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json", **_credentials(url)}
    request = urllib.request.Request(f"{url.rstrip('/')}/{path}", data, headers, method=method)
    with urllib.request.urlopen(request, timeout=PATIENCE) as reply:
        text = reply.read()
        return json.loads(text) if text else None


def _credentials(url: str) -> dict[str, str]:
    """Ours for the home's own server, else the user's."""
    here = home()
    if recorded_url(here) == url.rstrip("/"):
        return {"Authorization": access.authorization(here)}
    user = os.environ.get("PREFECT_API_AUTH_STRING")
    if user:
        return {"Authorization": f"Basic {base64.b64encode(user.encode()).decode()}"}
    key = os.environ.get("PREFECT_API_KEY")
    return {"Authorization": f"Bearer {key}"} if key else {}


def flow_runs(url: str, *types: str, limit: int = 50, sort: str = "START_TIME_DESC") -> list[dict[str, Any]]:
    """Flow runs in states of these types, the newest first."""
    chosen = {"state": {"type": {"any_": list(types)}}}
    return list(ask(url, "flow_runs/filter", {"flow_runs": chosen, "limit": limit, "sort": sort}) or [])


def cancel(url: str, run: str, why: str) -> str | None:
    """Ask a flow run to save and stop: its own process, or its worker, sees it within seconds.

    Returns why Prefect does not let it be cancelled, None if it does; raises `HostError` if it does not know the run.
    """
    state = {"type": "CANCELLING", "name": "Cancelling", "message": why}
    answer = ask(url, f"flow_runs/{run}/set_state", {"state": state})
    if answer is None:
        raise HostError(f"Prefect at {bare(url)} does not know this run: PREFECT_API_URL points to another server")
    return str(answer["details"].get("reason")) if answer["status"] in ("REJECT", "ABORT") else None
