"""The one place where the registry is written: MLflow's client, its connection errors as our own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from tasks.core.errors import HostError, Transient
from tasks.core.waiting import announced

if TYPE_CHECKING:
    from mlflow import MlflowClient


@cache
def client_for(uri: str) -> MlflowClient:
    """MLflow's client for a tracking URI. Takes seconds the first time: imports MLflow."""
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    from mlflow import MlflowClient

    return MlflowClient(uri, uri)


class Leases(Protocol):
    """What writing needs of the store."""

    def lock(self, name: str) -> AbstractContextManager[Any]:
        """Hold the lease of that name while inside."""


@contextmanager
def held(leases: Leases, name: str, uri: str) -> Iterator[None]:
    """Hold a lease, and let all of MLflow write to `uri`, inside; says so where another run keeps it waiting."""
    with ExitStack() as inside:
        with announced(f"another run, which writes to the registry ({name})"):
            inside.enter_context(leases.lock(name))
        inside.enter_context(mlflow_at(uri))
        yield


@contextmanager
def mlflow_at(uri: str) -> Iterator[None]:
    """Let all of MLflow write to `uri` inside: its registry looks logged models up where the environment says.

    What its client raises becomes `Transient` (it cannot be reached, or somebody deletes what is worked on) or
    `HostError`. What takes long is said: MLflow's client tries again for minutes without saying so.
    """
    from mlflow.exceptions import MlflowException, RestException

    before = os.environ.get("MLFLOW_TRACKING_URI")
    os.environ["MLFLOW_TRACKING_URI"] = uri
    try:
        with announced(f"MLflow at {uri}"):
            yield
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            raise Transient(
                "somebody has deleted in MLflow what this was working on: run again, it looks anew"
            ) from error
        if isinstance(error, RestException):
            raise HostError(f"MLflow at {uri} refuses: {error}") from error
        kind = Transient if "API request" in str(error) or "locked" in str(error) else HostError
        raise kind(f"MLflow at {uri}: {error}") from error
    finally:
        del os.environ["MLFLOW_TRACKING_URI"]
        if before is not None:
            os.environ["MLFLOW_TRACKING_URI"] = before
