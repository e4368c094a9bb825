"""Files in local folders and on S3, of every format that is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from conf.schema.source import ReadSource
from tasks.collect import copies, endings, places
from tasks.collect.document_writer import Documents


class FilesSource(ReadSource):
    """Files in local folders or on S3."""

    kind: Literal["files"]
    """Always files."""
    where: ClassVar[frozenset[str]] = ReadSource.where | {"paths", "follow_links"}
    paths: tuple[str, ...] = Field(min_length=1)
    """Files, folders (all known endings below), globs (** allowed), or s3://bucket/prefix."""
    follow_links: bool = False
    """Whether symbolic links that lead out of the folders named in paths are followed; else they are left out and
    counted. A path that is itself a link is always followed."""


OPTIONS, PLACE, LIBRARIES = FilesSource, "paths", endings.LIBRARIES
FOLDERS = True


def entries(source: str, conf: FilesSource, known: Iterable[str] = ()) -> list[dict[str, Any]]:
    """The files that the paths name, as `places.entries` lists them."""
    return places.entries(source, conf.paths, conf.follow_links)


def warns(source: str, conf: FilesSource) -> list[dict[str, str]]:
    """Of the files in the folders that are not read."""
    return places.warnings(source, conf.paths)


def read(held: Sequence[dict[str, Any]], conf: FilesSource, documents: Documents, scratch: Path) -> None:
    """Add the documents of some files."""
    from tasks.collect import file_reader

    file_reader.read(held, conf, documents, scratch, partial(copies.copied, scratch=scratch))
