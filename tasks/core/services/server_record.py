"""What the servers of a home leave in its folder: which run now, and what `fromzero up` asked for."""

from __future__ import annotations

from pathlib import Path

from tasks.core.small_files import read_json


def folder(home: Path) -> Path:
    """Where the server keeps its database, locks, record and log."""
    return home / "prefect"


def record_file(home: Path) -> Path:
    """Which servers run and where, as their keeper says; one that is killed leaves it behind."""
    return folder(home) / "server.json"


def asked_file(home: Path) -> Path:
    """What `up` asked for, until `down`."""
    return folder(home) / "up.json"


def recorded_url(home: Path) -> str | None:
    """The address of the Prefect API that the record names, whether it runs or not."""
    return read_json(record_file(home)).get("url")
