"""An entry's file at hand, for as long as it is read: where it lies, or a copy in the scratch folder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.collect import bucket, places
from tasks.core.errors import DataError


@contextmanager
def copied(entry: dict[str, Any], scratch: Path) -> Iterator[Path]:
    """A local file itself, or a copy of one on S3.

    Raises `DataError` if it is not what was listed.
    """
    uri = entry["uri"]
    if not uri.startswith("s3://"):
        _check_unchanged(entry)
        with _plainly_named(places.path_of(entry), scratch) as path:
            yield path
        _check_unchanged(entry)
        return
    copy = scratch / "object"
    try:
        bucket.download(uri, entry["stamp"], copy)
        yield copy
    finally:
        copy.unlink(missing_ok=True)


@contextmanager
def _plainly_named(path: Path, scratch: Path) -> Iterator[Path]:
    """The file, or a link to it where its name is no UTF-8, which libraries refuse."""
    if places.shown(str(path)) == str(path):
        yield path
        return
    link = scratch / "named"
    link.unlink(missing_ok=True)
    link.symlink_to(path)
    yield link
    link.unlink()


def _check_unchanged(entry: dict[str, Any]) -> None:
    try:
        at = places.path_of(entry).stat()
    except FileNotFoundError:
        raise DataError(f"{entry['uri']} has gone since it was listed: run again") from None
    if (at.st_size, places.stamp(at)) != (entry["size"], entry["stamp"]):
        raise DataError(f"{entry['uri']} has changed since it was listed: run again")
