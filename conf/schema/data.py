"""What text is taken in: the sources and how their entries are dealt into shards."""

from __future__ import annotations

import codecs
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator

from conf.schema.base import Conf


class Source(Conf):
    """What every kind of source shares."""

    def for_key(self) -> dict[str, Any]:
        """The options that shape what is read from an entry; which entries there are is the shard's own matter."""
        return {
            name: value for name, value in super().for_key().items() if name not in ("distributions", "paths", "urls")
        }


class PackagesSource(Source):
    """Docstrings and documentation of installed Python distributions."""

    kind: Literal["python_packages"]
    """Always python_packages."""
    distributions: tuple[str, ...] = Field(min_length=1)
    """Names of installed distributions, as pip shows them; each is the label of its docstrings."""
    min_chars: int = Field(80, ge=1)
    """Shortest docstring that becomes a document, in characters."""


class ChitchatSource(Source):
    """The human conversations of the chitchat-dataset distribution."""

    kind: Literal["chitchat"]
    """Always chitchat."""
    max_conversations: int | None = Field(None, ge=1)
    """How many conversations between two people to take, in order; None for all."""


class ReadSource(Source):
    """What is read from files: text, Markdown, HTML, CSV, TSV, JSON lines, Parquet or Arrow, each also .gz, .zst, .bz2
    or .xz; or zip and tar archives of such."""

    text: str = "text"
    """Column (CSV, Parquet, Arrow) or field (JSON lines) that holds the text."""
    label: str | None = None
    """Column or field that holds a label; None where there is none."""
    messages: str | None = None
    """Column or field that holds a conversation, a list of {role, content}, which gives the text; None for none."""
    licence: str = "unknown"
    """Licence recorded with each document."""
    encoding: str = "utf-8"
    """Character encoding of text, CSV and JSON lines files, as Python names it."""
    max_bad_rows: int = Field(0, ge=0)
    """How many unreadable rows of one shard may be set aside before it is refused."""
    max_document_mb: int = Field(64, ge=1, le=1024)
    """Largest single text, in MB; a file or row beyond it is refused."""

    @field_validator("encoding")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            return codecs.lookup(name).name
        except LookupError:
            raise ValueError(f"{name!r} is no encoding that Python knows; utf-8, utf-16, latin-1 are usual") from None


class FilesSource(ReadSource):
    """Files in local folders or on S3."""

    kind: Literal["files"]
    """Always files."""
    paths: tuple[str, ...] = Field(min_length=1)
    """Files, folders (all known endings below), globs (** allowed), or s3://bucket/prefix."""


class HttpSource(ReadSource):
    """Files and pages on web servers."""

    kind: Literal["http"]
    """Always http."""
    urls: tuple[str, ...] = Field(min_length=1)
    """URLs, or files of URLs, one on a line; each may end with #sha256= and a checksum. A URL without a file ending is
    a web page."""


SourceConf = Annotated[PackagesSource | ChitchatSource | FilesSource | HttpSource, Field(discriminator="kind")]
SourceName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$")]


class CollectConf(Conf):
    """The sources of a corpus and the size of its shards."""

    sources: dict[SourceName, SourceConf] = Field(min_length=1)
    """The sources by name: lower-case letters, digits, - and _."""
    shard_mb: float = Field(64, gt=0)
    """A shard is closed before its entries' sizes pass this many MB; only new shards follow it."""
    shrink_limit: float = Field(0.5, ge=0, le=1)
    """The share of its entries that a source may lose since the last run before it is refused; 1 accepts any loss."""
