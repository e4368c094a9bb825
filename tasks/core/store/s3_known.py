"""Small objects of a bucket that this machine has read before: an etag tells whether they are still the same."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from tasks.core.inner_path import InnerPath


class SmallObjects:
    """Files below `home`/cache, beside what is cached of the same artifact and removed with it."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def get(self, name: str, etag: str | None) -> bytes | None:
        """The bytes that an object with this etag has; None where they are not here, or not whole."""
        if etag is None:
            return None
        try:
            data = self._file(name, etag).read_bytes()
        except OSError:
            return None
        return data[32:] if data[:32] == hashlib.sha256(data[32:]).digest() else None

    def keep(self, name: str, etag: str, data: bytes) -> None:
        """Keep them here, if there is a home; what a crash tears is read again."""
        if not self.home.is_dir():
            return
        path = self._file(name, etag)
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{uuid4().hex}")
            temporary.write_bytes(hashlib.sha256(data).digest() + data)
            temporary.replace(path)

    def _file(self, name: str, etag: str) -> Path:
        return self.home / "cache" / f"{InnerPath(name)}.{hashlib.sha256(etag.encode()).hexdigest()[:32]}"
