"""Rows of queries: each once in the key's order, growth in new ranges, changes noticed; on SQLite and on Postgres."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from conf.schema.data import CollectConf
from tasks.collect import database
from tasks.collect.listing import assignment_of, observe_sources
from tasks.collect.sources import sql
from tasks.collect.sources.sql import SqlSource
from tasks.core.errors import ConfigError, DataError, HostError, Transient
from tests.postgres_server import PostgresServer
from tests.tasks.collect.conftest import Fetched


def table(path: Path, rows: Sequence[tuple[Any, ...]], kind: str = "INTEGER") -> dict[str, Any]:
    """A database with a table `docs` of (id, text, at), and the source that reads it."""
    with sqlite3.connect(path) as base:
        base.execute("PRAGMA synchronous = OFF")
        base.execute("DROP TABLE IF EXISTS docs")
        base.execute(f"CREATE TABLE docs (id {kind}, text TEXT, at TEXT)")
        base.executemany("INSERT INTO docs VALUES (?, ?, ?)", [(*row, None)[:3] for row in rows])
    base.close()
    return {"kind": "sql", "url": f"sqlite:///{path}", "query": "SELECT id, text, at FROM docs;"}


def numbered(numbers: Sequence[int]) -> list[tuple[int, str]]:
    return [(number, f"text {number}") for number in numbers]


def observed(source: dict[str, Any], before: Any = None) -> list[dict[str, Any]]:
    conf = CollectConf.model_validate({"sources": {"own": source}, "shard_mb": 0.00001})  # each range its own shard
    return observe_sources(conf, before)


keys = st.one_of(
    st.sets(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20),
    st.sets(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4), min_size=1),
)  # fmt: skip


@settings(max_examples=30)
@given(keys, st.integers(1, 7), st.integers(1, 9), st.randoms())
def test_each_row_comes_once_in_order_whatever_the_keys_and_the_size_of_a_page(
    keys: set[Any], page: int, entry_rows: int, random: Any
) -> None:
    shuffled = sorted(keys)
    random.shuffle(shuffled)
    with tempfile.TemporaryDirectory() as folder:
        kind = "INTEGER" if isinstance(shuffled[0], int) else "TEXT"
        source = table(Path(folder) / "a.db", [(key, f"text {key!r}") for key in shuffled], kind)
        conf = SqlSource.model_validate(source | {"entry_rows": entry_rows})
        ranges = sql.entries("own", conf, ())

        def read(connection: Connection) -> list[Any]:
            query = sql._query(conf, ["id", "text"])
            return [
                row.values["id"]
                for one in ranges
                for row in sql._rows(connection, query, conf, one["after"], one["last"], page)
                if row.values
            ]

        assert database.connected(conf, read) == sorted(keys)
        assert len(ranges) == -(-len(keys) // entry_rows)


@settings(max_examples=15)
@given(st.sets(st.integers(0, 60), min_size=1), st.sets(st.integers(0, 60)), st.sets(st.integers(61, 99)))
def test_after_rows_come_and_go_the_ranges_hold_each_row_once_and_old_ones_stay(
    old: set[int], gone: set[int], new: set[int]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source = table(Path(folder) / "a.db", numbered(sorted(old))) | {"entry_rows": 5}
        before = sql.entries("own", SqlSource.model_validate(source), ())
        table(Path(folder) / "a.db", numbered(sorted((old - gone) | new)))
        after = sql.entries("own", SqlSource.model_validate(source), [entry["uri"] for entry in before])
        held = [
            [key for key in (old - gone) | new if (one["after"] is None or key > one["after"]) and key <= one["last"]]
            for one in after
        ]
        assert sorted(key for keys in held for key in keys) == sorted((old - gone) | new) and all(held)
        if not gone & old:
            assert after[: len(before)] == before


def test_appended_rows_come_into_new_shards_and_a_changed_one_is_noticed_in_its_own(tmp_path: Path) -> None:
    source = table(tmp_path / "a.db", numbered(range(25))) | {"entry_rows": 10, "updated": "at"}
    first = observed(source)
    assert [shard["entries"][0]["last"] for shard in first] == [9, 19, 24]
    table(tmp_path / "a.db", numbered(range(30)))
    grown = observed(source, assignment_of(first))
    assert grown[:3] == first and [shard["entries"][0]["last"] for shard in grown] == [9, 19, 24, 29]
    for changed in ((12, "another text"), (12, "text XX", "2026-01-01")):
        table(tmp_path / "a.db", [*numbered(range(12)), changed, *numbered(range(13, 25))])
        after = observed(source, assignment_of(first))
        assert [one != before for one, before in zip(after, first, strict=True)] == [False, True, False]


def test_a_range_that_changes_after_it_was_listed_is_refused(tmp_path: Path) -> None:
    from tasks.collect.document_writer import Documents

    conf = SqlSource.model_validate(table(tmp_path / "a.db", numbered(range(3))))
    (entry,) = sql.entries("own", conf, ())
    table(tmp_path / "a.db", numbered(range(2)))
    with (
        Documents(tmp_path / "docs.parquet", tmp_path / "notes", "own") as documents,
        pytest.raises(DataError, match="has changed since it was listed: run again"),
    ):
        sql.collect(entry, conf, documents)


def test_columns_conversations_and_rows_that_are_unfit(tmp_path: Path) -> None:
    talk = json.dumps([{"role": "user", "content": "Hi: 'quoted' :name 50%"}])
    source = table(tmp_path / "a.db", [(1, talk), (2, "no json"), (3, None)])
    query = "SELECT id AS \"The Key\", text AS talk, ':x' || id AS label FROM docs WHERE text NOT LIKE 'a:b%'"
    fetched = Fetched(tmp_path, **source | {"query": query, "key": "The Key", "messages": "talk", "label": "label"},
                      max_bad_rows=2, licence="CC0-1.0")  # fmt: skip
    (row,) = fetched.rows
    assert (row["text"], row["label"], row["licence"]) == ("user: Hi: 'quoted' :name 50%", ":x1", "CC0-1.0")
    assert row["uri"] == f"sqlite:///{tmp_path}/a.db#1"
    notes = (fetched.works[0].aux / "unreadable.jsonl").read_text()
    assert '"key 2"' in notes and "is no JSON" in notes


@pytest.mark.parametrize(
    ("rows", "change", "kind", "message"),
    [
        ([(1, "a"), (1, "b")], {}, DataError, "'id' is no key: 1 rows up to 1 repeat another's"),
        ([(1, "a"), (None, "b")], {}, DataError, "'id' is no key: 1 rows have none"),
        ([(1.5, "a")], {}, DataError, r"'id' is no key: it holds a number \(1.5\).*CAST"),
        ([(1, "a")], {"text": "body"}, DataError, "has no column 'body'; there are 'id', 'text', 'at'"),
        ([(1, "a")], {"updated": "when"}, DataError, "has no column 'when'"),
        ([(1, "a")], {"query": "SELECT * FROM none"}, ConfigError, "refuses: no such table: none"),
        ([(1, "a")], {"url": "sqlite:////none/a.db"}, ConfigError, "there is no file /none/a.db"),
        ([(1, "a")], {"url": "nosql://h/d"}, ConfigError, "SQLAlchemy knows no such kind of database"),
        ([(1, "a")], {"url": "mysql+pymysql://h/d"}, HostError, "pymysql is missing here: `pip install PyMySQL`"),
        ([(1, "a")], {"url": "postgresql+psycopg://h/d"}, HostError, r"install psycopg`, or write postgresql\+asyncpg"),
        ([(1, "a")], {"url": "postgresql://h.invalid/d"}, Transient, "postgresql://h.invalid/d cannot be reached"),
        ([(1, "a")], {"url": "postgresql+asyncpg://u@127.0.0.1:9/d"}, Transient, "127.0.0.1:9/d cannot be reached"),
        ([(1, "a")], {"password_env": "NOT_SET"}, ConfigError, "password_env names NOT_SET, which is not set"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_the_mend_when_the_source_is_looked_at(
    tmp_path: Path, rows: list[tuple[Any, ...]], change: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=f"{message}.*data.sources.own"):
        observed(table(tmp_path / "a.db", rows, "") | change)


@pytest.mark.parametrize("url", ["postgresql://u:hidden@h/d", "postgresql://h/d?password=hidden"])
def test_a_password_in_the_url_is_refused_and_where_rows_lie_is_in_no_key(url: str) -> None:
    with pytest.raises(ValueError, match="name the environment variable in password_env"):
        SqlSource(kind="sql", url=url, query="SELECT 1")
    one, two = (
        SqlSource(kind="sql", url=f"postgresql://{host}/d", query="SELECT 1", password_env=host.upper())
        for host in "ab"
    )
    assert one.for_key() == two.for_key() and "url" not in one.for_key()


def test_postgres_gives_each_row_once_and_never_shows_the_password(
    postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCS_PASSWORD", postgres.password)
    made = 'CREATE TABLE docs (id text COLLATE "C", n bigint, body text, talk jsonb, at timestamptz)'
    source = {
        "kind": "sql", "url": postgres.url, "password_env": "DOCS_PASSWORD", "text": "body", "entry_rows": 7,
        "query": "SELECT id, n, body, talk, n::int8 AS m, at FROM docs WHERE body NOT LIKE '%:skip%'", "updated": "at",
    }  # fmt: skip

    def fill(connection: Connection) -> None:
        connection.execute(text(made))
        values = "'Ä' || i, i * 1000000000000, 'body ' || i, CAST(:talk AS jsonb), now()"
        row = text(f"INSERT INTO docs SELECT {values} FROM generate_series(1, 20) i")
        connection.execute(row, {"talk": json.dumps([{"role": "user", "content": "x"}])})
        connection.commit()

    database.connected(SqlSource.model_validate(source), fill)
    names = sorted(f"Ä{n}" for n in range(1, 21))
    assert Fetched(tmp_path / "t", **source).texts == [f"body {name[1:]}" for name in names]
    assert Fetched(tmp_path / "n", **source | {"key": "m"}).texts == [f"body {n}" for n in range(1, 21)]
    fetched = Fetched(tmp_path / "j", **source | {"key": "n", "messages": "talk"})
    assert [stats["conversations"] for stats in fetched.stats] == [1] and fetched.stats[0]["repeated"] == 19
    shards = observed(source)
    assert [len(shard["entries"]) for shard in shards] == [1, 1, 1] and postgres.password not in json.dumps(shards)
    with pytest.raises(DataError, match=r"'at' is no key: it holds a datetime"):
        observed(source | {"key": "at"})
    with pytest.raises(ConfigError, match=r'refuses: .*relation "none" does not exist'):
        observed(source | {"query": "SELECT * FROM none"})
    monkeypatch.setenv("DOCS_PASSWORD", "wrong-one")
    with pytest.raises(ConfigError, match="password authentication failed") as refused:
        observed(source)
    assert "wrong-one" not in str(refused.value)
