"""The steps of collecting: every source's text as the documents table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from conf.schema.data import (
    ChitchatSource,
    FilesSource,
    PackagesSource,
    ReadSource,
    RowSource,
    SourceConf,
    SqlSource,
    WarcSource,
)
from tasks.collect.endings import ARCHIVES as ARCHIVES
from tasks.collect.endings import left_out as left_out_files
from tasks.collect.listing import assignment_of, list_entries, observe_sources
from tasks.collect.places import links_out, passed_over, path_of
from tasks.core.errors import FromzeroError
from tasks.core.number_format import plural
from tasks.core.run_warnings import warning
from tasks.core.step import NETWORK, Cpu, Stats, step
from tasks.core.workdir import Workdir

if TYPE_CHECKING:
    from tasks.collect.survey import Group as Group
    from tasks.collect.survey import Survey as Survey

__all__ = [
    "ARCHIVES", "assignment_of", "fetch_evaluation", "fetch_shard", "left_out_files", "observe_evaluations",
    "observe_sources", "path_of", "survey",
]  # fmt: skip

LIBRARIES = ("chardet", "pyarrow", "trafilatura", "warcio")
AGAINST = "data.decontaminate.against"


def left_out(shard: dict[str, Any], conf: SourceConf) -> list[dict[str, str]]:
    """A warning of the files in a source's folders that are not read, for their endings."""
    if not isinstance(conf, (FilesSource, WarcSource)):
        return []
    counts, found = passed_over(conf.paths), []
    if links := links_out(conf.paths):
        text = f"source {shard['source']}: {plural(links, 'link')} out of the folders in paths not followed"
        found.append(warning(text, f"data.sources.{shard['source']}.follow_links"))
    if not counts:
        return found
    total = plural(sum(counts.values()), "file")
    return [*found, warning(f"source {shard['source']}: {total} not read, for their endings: {left_out_files(counts)}")]


@step(resources=Cpu(1, memory_gb=1.0), retry=NETWORK, libraries=LIBRARIES, warns=left_out)
def fetch_shard(shard: dict[str, Any], conf: SourceConf, work: Workdir) -> Stats:
    """Read one shard's entries.  {"shard", "source", "entries"} → docs.parquet; aux/unreadable.jsonl: rows set aside.

    Raises `DataError` for entries that cannot be read, have changed since they were listed, or hold nothing.
    """
    from tasks.collect import chitchat, files, packages, sql
    from tasks.collect.document_writer import Documents
    from tasks.collect.unpack import Budget

    budget = Budget(conf.max_file_gb if isinstance(conf, ReadSource) else 0)
    with Documents(work / "docs.parquet", work.aux / "unreadable.jsonl", shard["source"]) as documents:
        for entry in shard["entries"]:
            if isinstance(conf, PackagesSource):
                packages.collect(entry, conf.min_chars, documents)
            elif isinstance(conf, ChitchatSource):
                chitchat.collect(conf.max_conversations, documents)
            elif isinstance(conf, SqlSource):
                sql.collect(entry, conf, documents)
            else:
                files.collect(entry, conf, documents, work.scratch, budget)
        if isinstance(conf, RowSource):
            documents.check(conf.max_bad_rows, conf.max_bad_files if isinstance(conf, ReadSource) else 0)
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


@step(resources=Cpu(1, memory_gb=1.0), retry=NETWORK, libraries=LIBRARIES)
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
