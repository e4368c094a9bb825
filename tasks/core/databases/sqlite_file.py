"""A database of a home as a SQLite file, and what Alembic's revision of its schema is."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tasks.core.errors import HostError

PATIENCE = 60.0
"""Seconds to wait for another process that writes."""


@dataclass(frozen=True)
class SqliteFile:
    """One file; made by whoever migrates it."""

    path: Path
    dialect = "sqlite"
    remedy = "or move the file away: a new one is made, artifacts stay"
    """What else can be done about one that cannot be used."""

    def __str__(self) -> str:
        """As messages name it."""
        return str(self.path)

    @property
    def uri(self) -> str:
        """SQLAlchemy's URI for a program that waits."""
        return f"sqlite:///{self.path}"

    @property
    def asyncio_uri(self) -> str:
        """SQLAlchemy's URI for a program on asyncio."""
        return f"sqlite+aiosqlite:///{self.path}"

    def exists(self) -> bool:
        """Whether it is there."""
        return self.path.exists()

    def make(self) -> None:
        """Its folder; a SQLite file comes with the first who opens it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def revision(self) -> str:
        """The revision of its schema, as Alembic has noted it; empty if it has none."""
        if not self.path.exists():
            return ""
        try:
            found = self.rows("SELECT version_num FROM alembic_version")
        except sqlite3.DatabaseError:
            return ""
        return str(found[0][0]) if found else ""

    def rows(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What a query gives; `?` stands for a value. Raises `sqlite3.Error`."""
        with closing(sqlite3.connect(f"file:{quote(str(self.path))}?mode=ro", uri=True, timeout=PATIENCE)) as base:
            return base.execute(query, values).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """A function that executes a statement with its values, all of them or none in the end."""
        with closing(sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)) as base:
            base.execute("BEGIN IMMEDIATE")
            yield lambda statement, values=(): base.execute(statement, values).fetchall()
            base.execute("COMMIT")

    def dump(self, file: Path) -> None:
        """Write all of it, as it is at one time, to a file; others may go on writing."""
        copy(self.path, file)

    def load(self, file: Path) -> None:
        """Become what was dumped."""
        part = self.path.with_name(f".{self.path.name}.part")
        copy(file, part)
        part.replace(self.path)

    def recover(self) -> None:
        """Bring back what was there before a migration that was killed."""
        if self._before.exists() and self.path.exists():
            copy(self._before, self.path)

    @contextmanager
    def unharmed(self) -> Iterator[None]:
        """What is there stays if the block raises a `HostError`, or its process is killed in it (see `recover`)."""
        part = self.path.with_name("before-migration.part")
        part.unlink(missing_ok=True)
        copy(self.path, part)
        part.replace(self._before)
        try:
            yield
        except HostError:
            with suppress(sqlite3.Error):  # a full disk: it stays as it is until the next time
                copy(self._before, self.path)
                self._before.unlink()
            raise
        self._before.unlink()

    @property
    def _before(self) -> Path:
        return self.path.with_name("before-migration.db")


def copy(source: Path, target: Path) -> None:
    """Make one SQLite database what another is, while both may be in use; one that is not there is an empty one."""
    target.touch()
    with closing(sqlite3.connect(source, timeout=PATIENCE)) as old, closing(sqlite3.connect(target, timeout=60)) as new:
        old.backup(new)
