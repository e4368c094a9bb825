"""What is said of a database: where it lies and what went wrong, never the password. (How it is read: test_sql.py.)"""

from __future__ import annotations

import pytest
from sqlalchemy.exc import OperationalError

from tasks.collect import database
from tasks.collect.sources.sql import SqlSource
from tasks.core.errors import ConfigError, Transient


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("postgresql+asyncpg://me@host:5433/shop?ssl=require", "postgresql://host:5433/shop"),
        ("mysql+pymysql://me@host/shop", "mysql://host/shop"),
        ("sqlite:////data/a.db", "sqlite:////data/a.db"),
    ],
)
def test_a_place_has_no_user_and_no_options(url: str, where: str) -> None:
    assert database.where(SqlSource(kind="sql", url=url, query="SELECT 1")) == where


@pytest.mark.parametrize(
    ("said", "kind"), [("could not connect: tried s3cret", Transient), ("password s3cret is refused", ConfigError)]
)
def test_what_a_driver_says_loses_the_password_the_statement_and_the_values(said: str, kind: type[Exception]) -> None:
    error = OperationalError("SELECT hidden", {"p": "value"}, Exception(said))
    told = database._in_words(error, "postgresql://h/d", "s3cret")
    assert type(told) is kind and "***" in str(told)
    assert not any(word in str(told) for word in ("s3cret", "hidden", "value"))
