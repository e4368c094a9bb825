"""Files and pages on web servers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import field_validator, model_validator

from conf.schema.source import EnvName, ReadSource, refuse_secrets
from tasks.collect import downloads, endings
from tasks.collect.document_writer import Documents

SECRET = "put the URL into an environment variable, and name that in urls_env of a source of kind http"
"""Where a URL goes that lets its holder in."""


class HttpSource(ReadSource):
    """Files and pages on web servers."""

    kind: Literal["http"]
    """Always http."""
    where: ClassVar[frozenset[str]] = ReadSource.where | {"urls", "urls_env"}
    urls: tuple[str, ...] = ()
    """URLs, or files of URLs, one on a line; each may end with #sha256= and a checksum. A URL without a file ending is
    a web page."""
    urls_env: EnvName | None = None
    """Environment variable with more of them, separated by white space, which may hold a user and password or a
    signature: these go to their server alone and are stored nowhere."""

    @field_validator("urls")
    @classmethod
    def _open_to_all(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        refuse_secrets(urls, SECRET)
        return urls

    @model_validator(mode="after")
    def _some(self) -> HttpSource:
        if not self.urls and self.urls_env is None:
            raise ValueError("names nothing: give urls=[https://…], or urls_env=VARIABLE for those with credentials")
        return self


OPTIONS, PLACE, LIBRARIES = HttpSource, "urls", endings.LIBRARIES


def entries(source: str, conf: HttpSource, known: Iterable[str] = ()) -> list[dict[str, Any]]:
    """What the URLs hold now, as `downloads.entries` lists it."""
    return downloads.entries(source, conf.urls, conf.urls_env, conf.private_redirects)


def read(held: Sequence[dict[str, Any]], conf: HttpSource, documents: Documents, scratch: Path) -> None:
    """Add the documents of some files and pages."""
    from tasks.collect import file_reader

    def copy(entry: dict[str, Any]) -> AbstractContextManager[Path]:
        return downloads.downloaded(entry, scratch, conf, conf.urls_env)

    file_reader.read(held, conf, documents, scratch, copy)
