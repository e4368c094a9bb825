"""Small files on the local disk: written whole or not at all, read if they are there; seen to have changed; folders
emptied."""

from __future__ import annotations

import json
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

Stamp = tuple[int, int, int]
"""Time of the last change (Unix, ns), size, inode."""


def write_atomically(path: Path, data: bytes) -> None:
    """Write a small file so that a reader sees all of it or none, also after a crash."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def clear(folder: Path) -> None:
    """Remove a folder and all in it, if it is there."""
    if folder.exists():
        shutil.rmtree(folder)


def read_json(path: Path) -> dict[str, Any]:
    """A small JSON object; empty if there is none."""
    try:
        return dict(json.loads(path.read_bytes()))
    except (FileNotFoundError, ValueError):
        return {}


def stamp(path: str | Path) -> Stamp:
    """What changes when a file is written or replaced; zeros if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0, 0
    return found.st_mtime_ns, found.st_size, found.st_ino
