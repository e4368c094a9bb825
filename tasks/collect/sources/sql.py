"""Rows of an SQL query, listed as ranges of its key and read page by page in the key's order."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator

from conf.schema.source import EnvName, RowSource
from tasks.collect import database, rows
from tasks.collect.document_writer import Documents
from tasks.collect.text_formats import Row, kind_of, require
from tasks.core.errors import DataError, FromzeroError
from tasks.core.events import counted
from tasks.core.urls import secrets_in

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection, Subquery

Key = int | str
PAGE = 256
"""Rows that are asked for at once."""


class SqlSource(RowSource):
    """The rows of an SQL query, in the order of a key."""

    kind: Literal["sql"]
    """Always sql."""
    where: ClassVar[frozenset[str]] = frozenset({"url", "password_env", "entry_rows"})
    url: str
    """SQLAlchemy's DRIVER://USER@HOST/DATABASE, without a password; postgresql+asyncpg and sqlite are installed."""
    password_env: EnvName | None = None
    """Environment variable that holds the password; None for none. It is stored nowhere."""
    query: str = Field(min_length=1)
    """A SELECT that gives the columns of key, text, label and messages; it may join and filter."""
    key: str = "id"
    """Column of whole numbers or texts, each once and never null."""
    updated: str | None = None
    """Column with the time of a row's last change. Without it a change that keeps a range's number of rows and
    characters is not noticed."""
    entry_rows: int = Field(10_000, ge=1)
    """Rows of a key range that is listed, and read again when one of them has changed; for new ranges only."""

    @field_validator("url")
    @classmethod
    def _without_secrets(cls, url: str) -> str:
        if "://" not in url:
            raise ValueError("is no database URL: write DRIVER://USER@HOST/DATABASE, or sqlite:///PATH")
        if [name for name in secrets_in(url) if name != "user"]:
            raise ValueError("holds a password: leave it out, and name the environment variable in password_env")
        return url


OPTIONS, PLACE, LIBRARIES, NEEDS = SqlSource, "query", ("pyarrow",), ("sqlalchemy",)


def entries(source: str, conf: SqlSource, known: Iterable[str] = ()) -> list[dict[str, Any]]:
    """The key ranges that hold rows: those of the `known` uris as they are now, then new ones of `entry_rows` rows.

    A range reaches from the end of the one before it, so that no key falls between two; appended rows come into new
    ones. Its stamp is its number of rows and characters and its latest `updated`; its size counts characters.
    Raises `ConfigError` for a query that lacks a column or cannot be run, `DataError` for null, repeated or unfit keys.
    """
    try:
        ranges = dict(_numbered(uri, _prefix(conf)) for uri in known if uri.startswith(_prefix(conf)))
        return database.connected(conf, lambda connection: _listed(connection, conf, ranges))
    except FromzeroError as error:
        raise type(error)(f"{error} (data.sources.{source})") from error


def read(held: Sequence[dict[str, Any]], conf: SqlSource, documents: Documents, scratch: Path) -> None:
    """Add the documents of some key ranges; raises `DataError` for rows that cannot be read, beyond those allowed."""
    for entry in counted(held, len(held), "range"):
        collect(entry, conf, documents)
    documents.check(conf.max_bad_rows, 0)


def collect(entry: dict[str, Any], conf: SqlSource, documents: Documents) -> None:
    """Add the documents of one key range; raises `DataError` if it has changed since it was listed."""

    def work(connection: Connection) -> None:
        query = _query(conf, _columns(conf))
        for row in _rows(connection, query, conf, entry["after"], entry["last"]):
            rows.add(row, entry, conf, documents)
        if _stamp(_look(connection, query, conf, entry["after"], entry["last"])) != entry["stamp"]:
            raise DataError(f"{entry['uri']} has changed since it was listed: run again")

    try:
        database.connected(conf, work)
    except FromzeroError as error:
        raise type(error)(f"{error} (the source is data.sources.{documents.source})") from error


def _prefix(conf: SqlSource) -> str:
    return f"{database.where(conf)}?{conf.key}&range="


def _numbered(uri: str, prefix: str) -> tuple[int, Key]:
    """The number and the last key of the range that a uri names; only the database knows the order of its texts."""
    number, _, last = uri.removeprefix(prefix).partition("&last=")
    return int(number), json.loads(last)


def _columns(conf: SqlSource) -> list[str]:
    named = (conf.key, *conf.read_columns, *conf.more_columns, conf.updated)
    return list(dict.fromkeys(name for name in named if name))


def _query(conf: SqlSource, columns: list[str]) -> Subquery:
    """The user's query as a table that can be narrowed."""
    from sqlalchemy import column, text

    plain = conf.query.strip().rstrip(";").replace(":", "\\:")  # what looks like a parameter is none
    return text(plain).columns(*(column(name) for name in columns)).subquery("listed")


def _listed(connection: Connection, conf: SqlSource, known: dict[int, Key]) -> list[dict[str, Any]]:
    _check_columns(connection, conf)
    query = _query(conf, _columns(conf))
    _check_nulls(connection, query, conf)
    found, after = [], None
    for number, last in _ends(connection, query, conf, known):
        held = _look(connection, query, conf, after, last)
        if held["keys"] != held["rows"]:
            raise DataError(
                f"{conf.key!r} is no key: {held['rows'] - held['keys']} rows up to {last!r} repeat another's: name a "
                "column that is unique in the query's rows"
            )
        if held["rows"]:
            uri = f"{_prefix(conf)}{number:06d}&last={json.dumps(last, ensure_ascii=False)}"
            found.append(
                {
                    "uri": uri,
                    "name": database.where(conf),
                    "size": held["size"],
                    "stamp": _stamp(held),
                    "after": after,
                    "last": last,
                }
            )
        after = last
    return found


def _ends(connection: Connection, query: Subquery, conf: SqlSource, known: dict[int, Key]) -> Iterator[tuple[int, Key]]:
    """The numbers and last keys of the ranges in order: the known ones, then new ones."""
    from sqlalchemy import select

    key, last = query.c[conf.key], None
    for number, last in sorted(known.items()):
        yield number, last
    for number in count(max(known, default=-1) + 1):
        beyond = select(key).where(*_between(key, last, None))
        end = connection.execute(beyond.order_by(key).offset(conf.entry_rows - 1).limit(1)).scalar()
        if end is None:
            end = connection.execute(beyond.order_by(key.desc()).limit(1)).scalar()
        if end is None:
            return
        last = _checked(end, conf)
        yield number, last


def _look(connection: Connection, query: Subquery, conf: SqlSource, after: Key | None, last: Key) -> dict[str, Any]:
    from sqlalchemy import Text, cast, func, literal, select

    key, text = query.c[conf.key], query.c[conf.read_columns[-1]]
    updated = func.max(query.c[conf.updated]) if conf.updated else literal(None)
    counts = select(
        func.count().label("rows"), func.count(key.distinct()).label("keys"),
        func.coalesce(func.sum(func.length(cast(text, Text))), 0).label("size"), updated.label("updated"),
    ).where(*_between(key, after, last))  # fmt: skip
    held = connection.execute(counts).mappings().one()
    return {**held, "size": int(held["size"])}


def _stamp(held: dict[str, Any]) -> str:
    return f"{held['rows']} rows, {held['size']} characters" + (f", {held['updated']}" if held["updated"] else "")


def _rows(
    connection: Connection, query: Subquery, conf: SqlSource, after: Key | None, last: Key, page: int = PAGE
) -> Iterator[Row]:
    """The rows of a range in the order of their keys, each once."""
    from sqlalchemy import select

    key = query.c[conf.key]
    while True:
        asked = select(*query.c).where(*_between(key, after, last)).order_by(key).limit(page)
        found = connection.execute(asked).mappings().all()
        for row in found:
            yield _row(dict(row), conf)
        if len(found) < page:
            return
        after = _checked(found[-1][conf.key], conf)


def _row(values: dict[str, Any], conf: SqlSource) -> Row:
    position = f"key {values[conf.key]}"
    if conf.messages and isinstance(values[conf.messages], str):
        try:
            values[conf.messages] = json.loads(values[conf.messages])
        except (ValueError, RecursionError) as error:
            return Row(position, None, f"its column {conf.messages!r} is no JSON: {error}")
    return Row(position, values)


def _between(key: ColumnElement[Any], after: Key | None, last: Key | None) -> list[ColumnElement[bool]]:
    from sqlalchemy import BigInteger, Text, literal

    def given(value: Key) -> Any:
        return literal(value, BigInteger() if isinstance(value, int) else Text())

    return [*([key > given(after)] if after is not None else []), *([key <= given(last)] if last is not None else [])]


def _check_columns(connection: Connection, conf: SqlSource) -> None:
    from sqlalchemy import literal_column, select

    there = connection.execute(select(literal_column("*")).select_from(_query(conf, [])).limit(0)).keys()
    require(_columns(conf), list(there), "the query")


def _check_nulls(connection: Connection, query: Subquery, conf: SqlSource) -> None:
    from sqlalchemy import func, select

    nulls = connection.execute(select(func.count()).where(query.c[conf.key].is_(None))).scalar_one()
    if nulls:
        raise DataError(f"{conf.key!r} is no key: {nulls} rows have none: leave them out with WHERE, or name another")


def _checked(key: Any, conf: SqlSource) -> Key:
    if isinstance(key, bool) or not isinstance(key, (int, str)):
        raise DataError(
            f"{conf.key!r} is no key: it holds {kind_of(key)} ({key!r}): name a column of whole numbers or texts, or "
            f"write CAST({conf.key} AS TEXT) AS {conf.key} in the query"
        )
    return key
