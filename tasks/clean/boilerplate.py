"""N-grams of evaluation documents that occur in many documents of the corpus: footers, licences, phrases of forms.

They are counted shard by shard, and added up over all shards; what concerns a shard is then written for it alone, so
that a new shard leaves the others as they are unless it makes boilerplate of what they have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from conf.schema.clean import DecontaminateConf
from tasks.clean.decontaminate import TRAINING, EvalIndex, grams_of
from tasks.formats.documents import TableWriter, read_batches
from tasks.text.words import Hashes

COUNTS = pl.Schema({"gram": pl.UInt64, "documents": pl.UInt32})
"""How many documents of a shard have an n-gram of an evaluation document."""
COMMON = pl.Schema({"gram": pl.UInt64})


def count(docs: Callable[[str], Path], evalsets: Sequence[Path], out: Path, conf: DecontaminateConf) -> dict[str, Any]:
    """Count the n-grams of the evaluation sets in a shard's train and valid; returns how many were found."""
    known = np.unique(EvalIndex.build(evalsets, conf).grams)
    documents = np.zeros(len(known), np.uint32)
    for part in TRAINING:
        for batch in read_batches(docs(part), ["text"]):
            runs = grams_of(batch["text"], conf)
            places, there = _find(known, runs.values)
            found = pl.DataFrame({"row": runs.owners[there], "place": places[there]}).unique()
            np.add.at(documents, found["place"].to_numpy(), np.uint32(1))
    some = documents > 0
    with TableWriter(out, COUNTS) as writer:
        writer.add(pl.DataFrame({"gram": known[some], "documents": documents[some]}, schema=COUNTS))
    return {"ngrams": int(some.sum())}


def find(
    counts: Mapping[str, Path], evalsets: Sequence[Path], out: Callable[[str], Path], conf: DecontaminateConf
) -> dict[str, Any]:
    """Write SHARD/common.parquet for each shard: the boilerplate of all evaluation documents that it has an n-gram of.

    Returns how many n-grams are boilerplate, of how many.
    """
    index = EvalIndex.build(evalsets, conf)
    known, documents = np.unique(index.grams, return_counts=True)
    tables = {shard: pl.read_parquet(path) for shard, path in counts.items()}
    for table in tables.values():
        documents[np.searchsorted(known, table["gram"].to_numpy())] += table["documents"].to_numpy()
    common = known[documents >= conf.boilerplate] if conf.boilerplate else known[:0]
    place, boilerplate = np.searchsorted(known, index.grams), np.isin(index.grams, common)
    for shard, table in tables.items():
        here = np.isin(known, table["gram"].to_numpy())[place]
        touched = np.isin(index.owners, np.unique(index.owners[here]))
        grams = np.unique(index.grams[touched & boilerplate])
        with TableWriter(out(f"{shard}/common.parquet"), COMMON) as writer:
            writer.add(pl.DataFrame({"gram": grams}, schema=COMMON))
    return {"ngrams": len(known), "boilerplate": len(common)}


def _find(ordered: Hashes, wanted: Hashes) -> tuple[Any, Any]:
    """Where each wanted hash is among distinct ordered ones, and whether it is there at all."""
    if not len(ordered):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), np.bool_)
    places = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    return places, ordered[places] == wanted
