"""Where people look at a run and a model: addresses of Prefect's and MLflow's pages."""

from __future__ import annotations

import os
from pathlib import Path

from conf.schema.services import ServicesConf
from tasks.core.services.server_record import asked_file, recorded_url
from tasks.core.small_files import read_json
from tasks.core.tracking.mlflow_db import tracking_uri
from tasks.core.urls import bare

TRAINING = "?workflowType=machine_learning"
"""Makes MLflow show its pages for models, not those for agents."""


def prefect_pages(home: Path) -> str:
    """The base address of Prefect's pages: those that `up` serves, or will, unless a run was given another server."""
    api = os.environ.get("PREFECT_API_URL", "")
    own = not api or api == recorded_url(home)
    return os.environ.get("PREFECT_UI_URL") or (
        _served(home, "prefect_port") if own else bare(api.removesuffix("/api"))
    )


def mlflow_pages(home: Path) -> str:
    """The base address of MLflow's pages: the tracking server if there is one, else those that `up` serves, or will."""
    uri = tracking_uri(home)
    return bare(uri).rstrip("/") if uri.startswith("http") else _served(home, "mlflow_port")


def _served(home: Path, option: str) -> str:
    """Where `up` serves pages: as it was asked to last, else as its defaults say. A run's own server goes with it."""
    known = read_json(asked_file(home))
    asked = ServicesConf(**{name: value for name, value in known.items() if name in ServicesConf.model_fields})
    host = "127.0.0.1" if asked.host == "0.0.0.0" else asked.host
    return f"http://{host}:{getattr(asked, option)}"


def flow_run(home: Path, run: str) -> str:
    """The page of a flow run."""
    return f"{prefect_pages(home)}/runs/flow-run/{run}"


def mlflow_run(home: Path, experiment: str, run: str) -> str:
    """The page of an MLflow run."""
    return f"{mlflow_pages(home)}/#/experiments/{experiment}/runs/{run}{TRAINING}"


def model_version(home: Path, name: str, version: int | str) -> str:
    """The page of a registered version."""
    return f"{mlflow_pages(home)}/#/models/{name}/versions/{version}{TRAINING}"
