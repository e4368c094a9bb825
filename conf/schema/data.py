"""What text is taken in: the sources and how their entries are dealt into shards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Union

from pydantic import Field, StringConstraints

from conf.schema.base import Conf
from conf.schema.source import Source
from tasks.core import plugins

if TYPE_CHECKING:
    SourceConf = Source

SOURCES = ("tasks.collect.sources", "fromzero.sources")
"""Where kinds of sources are: the package of ours, the group of entry points of others."""

SourceConf = Annotated[Union[tuple(plugins.options(*SOURCES).values())], Field(discriminator="kind")]  # type: ignore[misc, assignment]  # noqa: UP007
"""The options of a source of whichever kind; to a checker of types what all have."""
SourceName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$")]


class CollectConf(Conf):
    """The sources of a corpus and the size of its shards."""

    sources: dict[SourceName, SourceConf] = Field(min_length=1)
    """The sources by name: lower-case letters, digits, - and _."""
    shard_mb: float = Field(64, gt=0)
    """A shard is closed before its entries' sizes pass this many MB; only new shards follow it."""
    max_entry_loss: float = Field(0.5, ge=0, le=1)
    """The share of its entries that a source may lose since the last run before it is refused; 1 accepts any loss."""
    formerly: ClassVar[Mapping[str, str]] = {"max_entry_loss": "shrink_limit"}
