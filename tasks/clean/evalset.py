"""The frozen evaluation set: held-out documents of all shards, in the order of their ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from conf.schema.clean import EvalsetConf
from tasks.clean.emptied import why_none
from tasks.core.errors import DataError
from tasks.core.number_format import count
from tasks.core.run_warnings import told
from tasks.formats.documents import DOCUMENTS, TARGETS, TableWriter, read_batches, row_bytes, schema_of


def freeze(tests: Iterable[Path], out: Path, conf: EvalsetConf, way: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Write the test parts as one file sorted by id, each id once; the smallest ids of a source with too many.

    Raises `DataError` if there is no held-out document at all; `way`, what `held_out` counted, says why.
    """
    tests = list(tests)
    schema = _schema_of(tests)
    chosen, held_out = schema.to_frame(), Counter[str]()
    for path in tests:
        for batch in read_batches(path):
            held_out.update(batch["source"].to_list())
            whole = pl.concat([chosen, batch], how="diagonal").select(schema.names())
            chosen = _smallest(whole, conf.max_documents)
    if not chosen.height:
        raise DataError(f"no document is held out for evaluation: {why_none(way or {})}")
    written = _write(chosen, out, conf)
    return {**written, **_left_out(held_out, written["sources"], conf)}


def _left_out(held_out: Counter[str], sources: dict[str, int], conf: EvalsetConf) -> dict[str, Any]:
    """How many held-out documents are left out because their source has more than it may, where there are any."""
    documents = sum(held_out[name] - taken for name, taken in sources.items() if taken == conf.max_documents)
    if not documents:
        return {}
    text = (
        f"{count(documents)} held-out documents are neither measured nor trained on, over {conf.max_documents} a source"
    )
    return {"left_out": documents, "warnings": [told(text, "data.evalset.max_documents, data.split.test")]}


def strike(evalset: Path, out: Path, taken: Iterable[str], conf: EvalsetConf) -> dict[str, Any]:
    """Write a frozen set without the documents of some ids; raises `DataError` if nothing is left."""
    ids = list(taken)
    schema = _schema_of([evalset])
    left = pl.concat([schema.to_frame(), *(batch.filter(~pl.col("id").is_in(ids)) for batch in read_batches(evalset))])
    if not left.height:
        raise DataError(
            "every document of the evaluation set was taken down: raise data.evalset.version to freeze another"
        )
    return _write(left, out, conf)


def _schema_of(tables: Iterable[Path]) -> pl.Schema:
    """The columns of an evaluation set made of these tables: what is said of texts where any of them has it."""
    has = any("targets" in schema_of(table) for table in tables)
    return pl.Schema({**DOCUMENTS, **(TARGETS if has else {})})


def _write(chosen: pl.DataFrame, out: Path, conf: EvalsetConf) -> dict[str, Any]:
    with TableWriter(out, chosen.schema) as writer:
        writer.add(chosen)
    sources = chosen["source"].value_counts().sort("source").iter_rows()
    sizes = {"documents": chosen.height, "bytes": row_bytes(chosen), "sources": dict(sources)}
    return {"name": conf.name, "version": conf.version, **sizes}


def _smallest(documents: pl.DataFrame, limit: int | None) -> pl.DataFrame:
    ordered = documents.unique("id", keep="first", maintain_order=True).sort("id")
    return ordered if limit is None else ordered.filter(pl.int_range(pl.len()).over("source") < limit)
