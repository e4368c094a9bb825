"""What happened, told to Prefect as events: what deployments are triggered by and people are notified of.

Over REST, so that a step's body, which knows no Prefect, can tell as well. Nothing fails of it.
"""

from __future__ import annotations

import json
import os
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from tasks.core.errors import FromzeroError
from tasks.core.services import prefect_api
from tasks.core.services.server_record import recorded_url
from tasks.core.store.open import home

NEW_DATA, PROMOTION, DRIFT, QUARANTINE = (
    f"fromzero.{name}" for name in ("new-data", "promotion", "drift", "quarantine")
)
"""A source has what was never fetched; a model became champion; a corpus moved from the one before; shards were set
aside."""


def resource(kind: str, name: str) -> str:
    """The id of what an event is about: a model by its registered name, a recipe, or a deployment as RECIPE/FILE."""
    return f"fromzero.{kind}.{quote(name, safe='')}"


def tell(event: str, about: str, said: str, **payload: Any) -> None:
    """Tell the server of this run, or the one that is up, of an event `about` a resource; `said` is for people."""
    url = os.environ.get("PREFECT_API_URL") or recorded_url(home())
    if url is None:
        return
    sent = {
        "id": str(uuid.uuid4()),
        "occurred": datetime.now(UTC).isoformat(),
        "event": event,
        "resource": {"prefect.resource.id": about},
        "payload": {"said": said, **payload},
    }
    with suppress(FromzeroError):
        prefect_api.ask(url, "events", [sent])


def tell_of_recipe(event: str, said: str, **payload: Any) -> None:
    """As `tell`, about the recipe whose run this step belongs to; nothing outside of a run."""
    run, url = json.loads(os.environ.get("FROMZERO_CONTEXT", "{}")).get("flow_run"), os.environ.get("PREFECT_API_URL")
    url = url or recorded_url(home())
    if run is None or url is None:
        return
    with suppress(FromzeroError):
        flow = (prefect_api.ask(url, f"flow_runs/{run}") or {}).get("flow_id")
        found = prefect_api.ask(url, f"flows/{flow}") if flow else None
        if found:
            tell(event, resource("recipe", found["name"]), said, **payload)
