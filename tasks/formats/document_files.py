"""Where documents lie in artifacts, by names: what the tables hold is in `documents`, which plans need not import."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

DOCUMENTS_FILE = "docs.parquet"
"""A documents table: of a shard, or of one part of it in a folder of its own."""
EVALUATION_FILE = "test.parquet"
"""The documents table of the frozen evaluation set."""
REJECTS_FILE = "rejects.parquet"
"""Under aux/: the documents that a step let go, and why."""
UNREADABLE_FILE = "unreadable.jsonl"
"""Under aux/: rows of a source that became no document. It is begun with the first of them."""
SIZES_FILE = "sizes.parquet"
"""For each shard: how many duplicates its documents had."""


class Place(Protocol):
    """An artifact, a work directory or a folder."""

    def __truediv__(self, name: str, /) -> Path: ...


def documents_in(place: Place, part: str) -> Path:
    """The documents table of one part."""
    return place / f"{part}/{DOCUMENTS_FILE}"
