"""What `fromzero up` keeps running."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, field_validator

from conf.schema.base import RunConf
from tasks.core import postgres_url

POOL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,60}")
"""Names of work pools."""


class ServicesConf(RunConf):
    """The servers and the worker of a home: Prefect's and MLflow's pages, and what carries out scheduled runs."""

    host: str = "127.0.0.1"
    """The address that both servers listen on; 0.0.0.0 for all. Names, passwords and cookies then pass the network
    unencrypted: put a proxy that speaks TLS in front, and a firewall around."""
    names: tuple[Annotated[str, Field(pattern=r"^[a-z0-9.-]+(:\d{1,5})?$")], ...] = ()
    """Further names (HOST, or HOST:PORT where the port is another one, as at a proxy) by which pages are asked for."""
    prefect_port: int = Field(4200, ge=1, le=65535)
    """Port of Prefect's API and pages."""
    mlflow_port: int = Field(5000, ge=1, le=65535)
    """Port of MLflow's API and pages."""
    database: str | None = None
    """The Postgres that keeps Prefect's and MLflow's records, postgresql://USER@HOST:PORT/NAME, in its databases
    NAME_prefect and NAME_mlflow; the password is in PGPASSWORD or ~/.pgpass. None: what this home was given before,
    else SQLite files in it."""
    limit: int = Field(2, ge=1, le=64)
    """How many runs the worker carries out at once."""
    pool: str = Field("fromzero", pattern=f"^{POOL_NAME.pattern}$")
    """Name of the Prefect work pool that the worker serves."""

    @field_validator("database")
    @classmethod
    def _of_a_home(cls, value: str | None) -> str | None:
        return value if value is None else postgres_url.checked(value)
