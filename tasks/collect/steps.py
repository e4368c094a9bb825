"""The steps of collecting: every source's text as the documents table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conf.schema.data import SOURCES, SourceConf
from tasks.collect import source_kinds
from tasks.collect.endings import ARCHIVES as ARCHIVES
from tasks.collect.endings import left_out as left_out_files
from tasks.collect.listing import assignment_of, list_entries, observe_sources
from tasks.collect.places import path_of
from tasks.collect.source_kinds import expectations_of, of_folders
from tasks.core import plugins
from tasks.core.errors import FromzeroError
from tasks.core.step import NETWORK, Cpu, Stats, Step, step
from tasks.core.workdir import Workdir
from tasks.formats.document_files import DOCUMENTS_FILE, UNREADABLE_FILE

if TYPE_CHECKING:
    from tasks.collect.survey import Group as Group
    from tasks.collect.survey import Survey as Survey

__all__ = [
    "ARCHIVES", "assignment_of", "expectations_of", "fetch_evaluation", "fetch_shard", "left_out_files",
    "observe_evaluations", "observe_sources", "of_folders", "path_of", "survey",
]  # fmt: skip

AGAINST = "data.decontaminate.against"


def left_out(shard: dict[str, Any], conf: SourceConf) -> list[dict[str, str]]:
    """Warnings of what a source's listing left out."""
    return source_kinds.kind(conf.kind).warns(shard["source"], conf)


def of_kind(step: Step, conf: SourceConf) -> Step:
    """A step that reads a source, as it reads one of this kind."""
    kind = source_kinds.kind(conf.kind)
    return replace(step, reaches=(f"{kind.module}:read",), libraries=kind.libraries, needs=kind.needs)


@step(resources=Cpu(1, memory_gb=1.0), retry=NETWORK, fits=of_kind, warns=left_out)
def fetch_shard(shard: dict[str, Any], conf: SourceConf, work: Workdir) -> Stats:
    """Read one shard's entries.  {"shard", "source", "entries"} → docs.parquet; aux/unreadable.jsonl: rows set aside.

    Raises `DataError` for entries that cannot be read, have changed since they were listed, or hold nothing.
    """
    from tasks.collect.document_writer import Documents

    told = conf.has_targets
    with Documents(work / DOCUMENTS_FILE, work.aux / UNREADABLE_FILE, shard["source"], targets=told) as documents:
        plugins.module(*SOURCES, conf.kind).read(shard["entries"], conf, documents, work.scratch)
        return {"entries": len(shard["entries"]), **documents.finish(shard["entries"])}


def observe_evaluations(sets: Mapping[str, SourceConf]) -> list[dict[str, Any]]:
    """What evaluation sets from elsewhere hold now: an observation, one shard for each.

    Raises what listing a source raises, in words that name the set.
    """
    found = []
    for name, conf in sets.items():
        with _named_as_evaluation(name):
            found.append({"shard": name, "source": name, "entries": list_entries(name, conf)})
    return found


@step(resources=Cpu(1, memory_gb=1.0), retry=NETWORK, fits=of_kind)
def fetch_evaluation(shard: dict[str, Any], conf: SourceConf, work: Workdir) -> Stats:
    """Read an evaluation set from elsewhere, as `fetch_shard` reads a shard, with the same errors."""
    with _named_as_evaluation(shard["source"]):
        return fetch_shard.function(shard, conf, work)


@contextmanager
def _named_as_evaluation(name: str) -> Iterator[None]:
    """Let messages about a source name the options of this evaluation set."""
    try:
        yield
    except FromzeroError as error:
        raise type(error)(str(error).replace(f"data.sources.{name}", f"{AGAINST}.{name}")) from error


def survey(folder: Path) -> Survey:
    """A first look at a folder of text; raises `DataError` if there is none that can be read."""
    from tasks.collect import survey as looking

    return looking.survey(folder)
