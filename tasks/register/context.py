"""What the run that is registering knows: its ids in Prefect and MLflow, where MLflow is, the commit."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.core.tracking.tracking import tracking_uri


@dataclass(frozen=True)
class RunContext:
    """FROMZERO_CONTEXT, as the engine sets it."""

    home: Path
    tracking_uri: str
    flow_run: str | None = None
    task_run: str | None = None
    mlflow_run: str | None = None
    git: dict[str, Any] = field(default_factory=dict)
    """commit and dirty."""
    pages: dict[str, str] = field(default_factory=dict)
    """Addresses of the run's pages in prefect and mlflow."""
    sources: tuple[dict[str, Any], ...] = ()
    """Rows of the data card: source, licence, documents …"""


def run_context() -> RunContext:
    """From FROMZERO_CONTEXT; without it FROMZERO_HOME and MLFLOW_TRACKING_URI, as in a notebook."""
    given = json.loads(os.environ.get("FROMZERO_CONTEXT", "{}"))
    home = Path(given.get("home") or os.environ.get("FROMZERO_HOME") or ".fromzero")
    git = given.get("git") or {}
    return RunContext(
        home=home,
        tracking_uri=given.get("tracking_uri") or tracking_uri(home),
        flow_run=given.get("flow_run"),
        task_run=given.get("task_run"),
        mlflow_run=given.get("mlflow_run"),
        git=git if isinstance(git, dict) else {"commit": str(git)},
        pages=dict(given.get("pages") or {}),
        sources=tuple(given.get("sources") or ()),
    )
