"""The steps of collecting: every source's text as the documents table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from conf.schema.data import ChitchatSource, PackagesSource, SourceConf, SqlSource
from tasks.collect.listing import assignment_of, observe_sources
from tasks.core.step import NETWORK, Cpu, Stats, Workdir, step

if TYPE_CHECKING:
    from tasks.collect.survey import Group as Group
    from tasks.collect.survey import Survey as Survey

__all__ = ["assignment_of", "fetch_shard", "observe_sources", "survey"]


@step(resources=Cpu(1, memory_gb=1.0), retry=NETWORK, libraries=("pyarrow", "trafilatura", "warcio"))
def fetch_shard(shard: dict[str, Any], conf: SourceConf, work: Workdir) -> Stats:
    """Read one shard's entries.  {"shard", "source", "entries"} → docs.parquet; aux/unreadable.jsonl: rows set aside.

    Raises `DataError` for entries that cannot be read, have changed since they were listed, or hold nothing.
    """
    from tasks.collect import chitchat, files, packages, sql
    from tasks.collect.documents import Documents

    with Documents(work / "docs.parquet", work.aux / "unreadable.jsonl", shard["source"]) as documents:
        for entry in shard["entries"]:
            if isinstance(conf, PackagesSource):
                packages.collect(entry, conf.min_chars, documents)
            elif isinstance(conf, ChitchatSource):
                chitchat.collect(conf.max_conversations, documents)
            elif isinstance(conf, SqlSource):
                sql.collect(entry, conf, documents)
            else:
                files.collect(entry, conf, documents, work.scratch)
        return {"entries": len(shard["entries"]), **documents.finish(shard["entries"])}


def survey(folder: Path) -> Survey:
    """A first look at a folder of text; raises `DataError` if there is none that can be read."""
    from tasks.collect import survey as looking

    return looking.survey(folder)
