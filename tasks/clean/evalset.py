"""The frozen evaluation set: held-out documents of all shards, in the order of their ids."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from conf.schema.clean import EvalsetConf
from tasks.clean.documents import DOCUMENTS, TableWriter, read_batches, row_bytes
from tasks.clean.emptied import why_none
from tasks.core.errors import DataError


def freeze(tests: Iterable[Path], out: Path, conf: EvalsetConf, way: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Write the test parts as one file sorted by id, each id once; the smallest ids of a source with too many.

    Raises `DataError` if there is no held-out document at all; `way`, what `held_out` counted, says why.
    """
    chosen = DOCUMENTS.to_frame()
    for path in tests:
        for batch in read_batches(path, DOCUMENTS.names()):
            chosen = _smallest(pl.concat([chosen, batch]), conf.max_documents)
    if not chosen.height:
        raise DataError(f"no document is held out for evaluation: {why_none(way or {})}")
    return _write(chosen, out, conf)


def strike(evalset: Path, out: Path, taken: Iterable[str], conf: EvalsetConf) -> dict[str, Any]:
    """Write a frozen set without the documents of some ids; raises `DataError` if nothing is left."""
    ids = list(taken)
    left = pl.concat(
        [DOCUMENTS.to_frame(), *(batch.filter(~pl.col("id").is_in(ids)) for batch in read_batches(evalset))]
    )
    if not left.height:
        raise DataError(
            "every document of the evaluation set was taken down: raise data.evalset.version to freeze another"
        )
    return _write(left, out, conf)


def _write(chosen: pl.DataFrame, out: Path, conf: EvalsetConf) -> dict[str, Any]:
    with TableWriter(out, DOCUMENTS) as writer:
        writer.add(chosen)
    sources = chosen["source"].value_counts().sort("source").iter_rows()
    sizes = {"documents": chosen.height, "bytes": row_bytes(chosen), "sources": dict(sources)}
    return {"name": conf.name, "version": conf.version, **sizes}


def _smallest(documents: pl.DataFrame, limit: int | None) -> pl.DataFrame:
    ordered = documents.unique("id", keep="first", maintain_order=True).sort("id")
    return ordered if limit is None else ordered.filter(pl.int_range(pl.len()).over("source") < limit)
