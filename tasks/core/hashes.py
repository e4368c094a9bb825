"""The SHA-256 of files, each read once for as long as it stays the same: what is checked often must cost little."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from tasks.core.artifact import hash_file

FILE = "hashes.db"
"""Below the home, which is the owner's alone; never in a store, which others may write."""
WORTH = 1 << 16
"""Bytes from which reading a file again costs more than looking it up."""
TICK = 100_000_000
"""Nanoseconds within which two changes of a file may get the same time: what is that young is not remembered."""
_REMEMBERS = ContextVar("remembers", default=True)
_TABLE = """
CREATE TABLE IF NOT EXISTS hashes (
    device INTEGER, inode INTEGER, size INTEGER, mtime INTEGER, ctime INTEGER, sha256 TEXT,
    PRIMARY KEY (device, inode)
)"""


@contextmanager
def left_alone() -> Iterator[None]:
    """Hashes are recalled, and nothing is added to the memory: who looks only leaves the home as it was."""
    token = _REMEMBERS.set(False)
    try:
        yield
    finally:
        _REMEMBERS.reset(token)


class Hashes:
    """Remembers the hash of a file by (device, inode, size, mtime, ctime): a file written anew, whatever size and time
    it was given, has another ctime.

    The memory is a file below `home`, shared by processes; without a home, or where it cannot be written, it is this
    process's own.
    """

    def __init__(self, home: Path | None = None) -> None:
        self.home = home
        self._own: dict[tuple[int, int], tuple[tuple[int, int, int], str]] = {}
        self._lock = threading.Lock()

    def of(self, path: Path) -> str:
        """Hex sha256 of a file's bytes, from memory if it has not changed since; raises `FileNotFoundError`."""
        stat = path.stat()
        if stat.st_size < WORTH:
            return hash_file(path)
        file, seen = (stat.st_dev, stat.st_ino), (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        known = self._own.get(file) or self._recall(file)
        if known is not None and known[0] == seen:
            return known[1]
        return self.anew(path)

    def anew(self, path: Path) -> str:
        """Hex sha256 of a file's bytes as they are read now; replaces what was remembered."""
        began, before = time.time_ns(), path.stat()
        found, stat = hash_file(path), path.stat()
        file, seen = (stat.st_dev, stat.st_ino), (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
        steady = (before.st_ino, before.st_ctime_ns) == (stat.st_ino, stat.st_ctime_ns)
        if stat.st_size >= WORTH and steady and stat.st_ctime_ns < began - TICK:
            self._own[file] = seen, found
            self._remember(file, seen, found)
        return found

    def _recall(self, file: tuple[int, int]) -> tuple[tuple[int, int, int], str] | None:
        query = "SELECT size, mtime, ctime, sha256 FROM hashes WHERE device = ? AND inode = ?"
        for size, mtime, ctime, found in self._ask(query, *map(_signed, file)):
            self._own[file] = (size, mtime, ctime), found
            return self._own[file]
        return None

    def _remember(self, file: tuple[int, int], seen: tuple[int, int, int], found: str) -> None:
        if _REMEMBERS.get():
            self._ask("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?, ?, ?)", *map(_signed, file), *seen, found)

    def _ask(self, query: str, *values: int | str) -> list[tuple[int, int, int, str]]:
        if self.home is None or not self.home.is_dir():
            return []
        path = self.home / FILE
        if not _REMEMBERS.get() and not path.exists():
            return []
        try:
            with self._lock, closing(sqlite3.connect(path, timeout=5, isolation_level=None)) as connection:
                os.chmod(path, 0o600)
                connection.execute("PRAGMA synchronous = OFF")  # a memory: what a crash takes is hashed again
                connection.execute(_TABLE)
                return list(connection.execute(query, values))
        except sqlite3.OperationalError:  # locked, read-only: the file is hashed again
            return []
        except (sqlite3.DatabaseError, OSError):  # no database any more
            with suppress(OSError):
                path.unlink()
            return []


def _signed(number: int) -> int:
    """A number of 64 bits as SQLite keeps it: with a sign."""
    return number - (1 << 64) if number >= 1 << 63 else number
