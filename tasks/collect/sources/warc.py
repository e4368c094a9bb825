"""Web archives (WARC), as crawlers write them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from conf.schema.source import ReadSource, WebRecords, refuse_secrets
from tasks.collect import copies, downloads, endings, places
from tasks.collect.document_writer import Documents

WEB = ("http://", "https://")
SECRET = "put the URL into an environment variable, and name that in urls_env of a source of kind http"
"""Where a URL goes that lets its holder in."""


class WarcSource(ReadSource):
    """Web archives (WARC), as crawlers write them."""

    kind: Literal["warc"]
    """Always warc."""
    where: ClassVar[frozenset[str]] = ReadSource.where | {"paths", "follow_links"}
    paths: tuple[str, ...] = Field(min_length=1)
    """Files, folders, globs (** allowed), s3://bucket/prefix, or https:// URLs."""
    follow_links: bool = False
    """Whether symbolic links that lead out of the folders named in paths are followed; else they are left out and
    counted. A path that is itself a link is always followed."""

    @field_validator("paths")
    @classmethod
    def _open_to_all(cls, paths: tuple[str, ...]) -> tuple[str, ...]:
        refuse_secrets(paths, SECRET)
        return paths

    records: WebRecords = WebRecords()
    """Which records are taken."""

    def web_records(self) -> WebRecords:
        """Which records become documents."""
        return self.records


OPTIONS, PLACE, LIBRARIES = WarcSource, "paths", endings.LIBRARIES


def entries(source: str, conf: WarcSource, known: Iterable[str] = ()) -> list[dict[str, Any]]:
    """The archives that the paths name: on web servers, then in folders and on S3."""
    urls = [path for path in conf.paths if path.startswith(WEB)]
    files = [path for path in conf.paths if path not in urls]
    found = downloads.entries(source, urls, private=conf.private_redirects)
    return found + places.entries(source, files, conf.follow_links)


def warns(source: str, conf: WarcSource) -> list[dict[str, str]]:
    """Of the files in the folders that are not read."""
    return places.warnings(source, conf.paths)


def read(held: Sequence[dict[str, Any]], conf: WarcSource, documents: Documents, scratch: Path) -> None:
    """Add the chosen pages of some archives."""
    from tasks.collect import file_reader

    def copy(entry: dict[str, Any]) -> AbstractContextManager[Path]:
        there = entry["uri"].startswith(WEB)
        return downloads.downloaded(entry, scratch, conf) if there else copies.copied(entry, scratch)

    file_reader.read(held, conf, documents, scratch, copy)
