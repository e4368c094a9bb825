"""What the stage knows of a kind of source: its module in sources/, or that of another distribution."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from conf.schema.data import SOURCES, SourceConf
from tasks.collect.document_writer import Documents
from tasks.core import plugins

Entry = dict[str, Any]
"""One thing to read: uri (unique in its source), name (in documents' uris), size in bytes, stamp of its state."""


@dataclass(frozen=True)
class Kind:
    """What the module of one kind holds; `tasks.collect.sources` says what each is."""

    module: str
    place: str
    libraries: tuple[str, ...]
    needs: tuple[str, ...]
    folders: bool
    expectations: tuple[dict[str, Any], ...]
    entries: Callable[[str, Any, Iterable[str]], list[Entry]]
    read: Callable[[Sequence[Entry], Any, Documents, Path], None]
    warns: Callable[[str, Any], list[dict[str, str]]]


@cache
def kind(name: str) -> Kind:
    """The kind of that name; raises `ConfigError` if there is none."""
    module = plugins.module(*SOURCES, name)
    return Kind(
        module.__name__,
        module.PLACE,
        module.LIBRARIES,
        getattr(module, "NEEDS", ()),
        getattr(module, "FOLDERS", False),
        getattr(module, "EXPECTATIONS", ()),
        module.entries,
        module.read,
        getattr(module, "warns", lambda source, conf: []),
    )


def expectations_of(sources: Mapping[str, SourceConf]) -> dict[str, tuple[dict[str, Any], ...]]:
    """What the kinds of some sources bring for the validation of their documents, by kind."""
    return {conf.kind: kind(conf.kind).expectations for conf in sources.values()}


def of_folders() -> str:
    """The name of the kind whose sources are folders of files."""
    return next(name for name in plugins.names(*SOURCES) if kind(name).folders)
