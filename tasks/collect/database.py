"""Databases as SQLAlchemy knows them: one connection, whatever the driver, and what goes wrong in words."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from tasks.core.errors import ConfigError, FromzeroError, HostError, Transient, nearest

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection

Found = TypeVar("Found")
DRIVERS = {"asyncpg": "asyncpg", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient", "pymysql": "PyMySQL"}
"""The distributions of drivers that go by another name."""


class Address(Protocol):
    """Where a database is."""

    @property
    def url(self) -> str:
        """SQLAlchemy's DRIVER://USER@HOST/DATABASE, without a password."""

    @property
    def password_env(self) -> str | None:
        """Environment variable that holds the password."""


def connected(conf: Address, work: Callable[[Connection], Found]) -> Found:
    """What `work` gives on a connection that reads; a driver for asyncio serves as well.

    Raises `ConfigError` for a URL, password or statement that is wrong, `HostError` for a driver that is not installed,
    `Transient` for a server that cannot be reached. No message holds the password.
    """
    import asyncio

    from sqlalchemy import create_engine, exc
    from sqlalchemy.ext.asyncio import create_async_engine

    url, place = _url(conf), where(conf)
    try:
        if url.get_dialect().is_async:
            return asyncio.run(_asynchronous(create_async_engine(url), work))
        engine = create_engine(url)
        try:
            with engine.connect() as connection:
                return work(connection)
        finally:
            engine.dispose()
    except exc.NoSuchModuleError as error:
        raise ConfigError(
            f"{place}: SQLAlchemy knows no such kind of database{nearest(url.drivername, KINDS)}"
        ) from error
    except ModuleNotFoundError as error:
        driver = DRIVERS.get(error.name or "", error.name)
        other = ", or write postgresql+asyncpg:// in the url" if url.get_backend_name() == "postgresql" else ""
        raise HostError(f"{place}: the driver {error.name} is missing here: `pip install {driver}`{other}") from error
    except FromzeroError:
        raise
    except (exc.SQLAlchemyError, OSError) as error:
        raise _in_words(error, place, url.password) from None  # a traceback may show what was sent
    except Exception as error:
        if type(error).__module__.startswith("asyncpg"):  # raised as it is, while a connection is made
            raise _in_words(error, place, url.password) from None
        raise


KINDS = ("sqlite", "postgresql+asyncpg", "postgresql+psycopg", "mysql+pymysql", "mssql+pyodbc", "oracle+oracledb")


def where(conf: Address) -> str:
    """A database's URL without user, password and options."""
    url = _parsed(conf.url)
    host = (url.host or "") + (f":{url.port}" if url.port else "")
    return f"{url.get_backend_name()}://{host}/{url.database or ''}"


def _parsed(url: str) -> URL:
    from sqlalchemy import exc, make_url

    try:
        return make_url(url)
    except (exc.ArgumentError, ValueError) as error:
        raise ConfigError(
            f"{url} is no database URL: write DRIVER://USER@HOST:PORT/DATABASE, or sqlite:///PATH"
        ) from error


def _url(conf: Address) -> URL:
    """The URL with its password; raises `ConfigError` for a variable that is not set or a SQLite file not there."""
    url = _parsed(conf.url)
    if conf.password_env:
        password = os.environ.get(conf.password_env)
        if password is None:
            raise ConfigError(f"{where(conf)}: password_env names {conf.password_env}, which is not set: export it")
        url = url.set(password=password)
    if url.get_backend_name() == "sqlite" and not Path(url.database or "").is_file():
        raise ConfigError(f"{conf.url}: there is no file {url.database}, seen from {Path.cwd()}: name one that exists")
    return url


async def _asynchronous(engine: Any, work: Callable[[Connection], Found]) -> Found:
    try:
        async with engine.connect() as connection:
            found: Found = await connection.run_sync(work)
            return found
    finally:
        await engine.dispose()


def _in_words(error: Exception, place: str, password: str | None) -> FromzeroError:
    """An error of SQLAlchemy or of a driver, less statement and values."""
    from sqlalchemy import exc

    cause: Any = getattr(error, "orig", None) or error
    said = (str(cause).splitlines() or [type(cause).__name__])[0].strip()
    said = said.replace(password, "***") if password else said
    refused = any(word in said.lower() for word in ("password", "authentication", "access denied", "does not exist"))
    lost = isinstance(error, exc.DBAPIError) and error.connection_invalidated
    unreached = isinstance(error, (OSError, exc.TimeoutError)) or any(
        word in said.lower()
        for word in ("connect", "translate host name", "timeout", "timed out", "starting up", "shutting down", "locked")
    )
    if not refused and (lost or unreached):
        return Transient(f"{place} cannot be reached: {said}")
    return ConfigError(f"{place} refuses: {said}: see url, password_env and query of the source")
