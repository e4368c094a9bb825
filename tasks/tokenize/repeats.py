"""Documents that are seen more than once: training documents, by the size of their cluster of duplicates.

FineWeb2 calls it rehydration (Penedo et al. 2025, "FineWeb2: One Pipeline to Scale Them All"): what many people copied
is worth reading again, up to a point. A document that is seen n times is in the shard's own tokens and in the passes
from 2 to n. Each pass is a token file of its own, so that no packing puts a document twice into one block.

pass-N/train/      a file of tokens of the documents that are seen N times or more, in their order
pass-N/valid/      the same of no document: what is held out is seen once
repeated.parquet   id, size (of the cluster) and times of each document that is seen more than once
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from conf.schema.tokenize import UpsampleConf
from tasks.core.errors import ArtifactError
from tasks.formats.tokens import TokenFile, TokenWriter

Ints = NDArray[np.int64]


def times_of(sizes: Ints, times: Mapping[int, int]) -> Ints:
    """How often documents from clusters of these sizes are seen: `times` of the largest size that theirs reaches."""
    limits = sorted(times)
    found: Ints = np.array([1, *(times[limit] for limit in limits)])[np.searchsorted(limits, sizes, side="right")]
    return found


def write_repeats(
    tokens: Path, docs: Path, sizes: Path, out: Callable[[str], Path], conf: UpsampleConf
) -> dict[str, Any]:
    """Write the passes of one shard; `tokens` is the folder of its training documents' tokens, `docs` their table.

    Returns how many documents are seen how often, and the documents, tokens and bytes that this adds. Raises
    `ArtifactError` if documents and tokens are not of each other.
    """
    shard = TokenFile.open(tokens, ArtifactError)
    table = _sized(docs, sizes)
    if table.height != len(shard):
        raise ArtifactError(
            f"{tokens} has {len(shard)} documents and {docs} has {table.height}: make the tokens again "
            "(fromzero run --refresh tokenize_shard)"
        )
    times = times_of(table["size"].to_numpy().astype(np.int64), conf.times)
    repeated = table.select("id", "size", times=pl.Series(times, dtype=pl.UInt32)).filter(pl.col("times") > 1)
    repeated.write_parquet(out("repeated.parquet"))
    lengths, added = table["bytes"].to_list(), {"documents": 0, "tokens": 0, "bytes": 0}
    for number, name in enumerate(conf.passes, 2):
        chosen = np.flatnonzero(times >= number)
        meta = _write(shard, chosen, lengths, out(f"{name}/train"))
        _write(shard, chosen[:0], lengths, out(f"{name}/valid"))
        added = {field: count + meta[field] for field, count in added.items()}
    counts = np.bincount(times, minlength=2)
    seen = {str(n): int(count) for n, count in enumerate(counts) if n > 1 and count}
    return {
        **added,
        "repeated": repeated.height,
        "times": seen,
        "once": {"documents": len(shard), "tokens": int(shard.index[-1])},
    }


def _sized(docs: Path, sizes: Path) -> pl.DataFrame:
    """id, bytes (of the text) and size (of the cluster, 1 without duplicates) of each document, in their order."""
    table = pl.scan_parquet(docs).select("id", bytes=pl.col("text").str.len_bytes()).collect(engine="streaming")
    sized = table.join(pl.read_parquet(sizes), on="id", how="left", maintain_order="left")
    return sized.with_columns(pl.col("size").fill_null(1))


def _write(shard: TokenFile, chosen: Ints, sizes: Sequence[int], out: Path) -> dict[str, Any]:
    """Write some documents of a shard as a token file; `sizes` are the texts' bytes. Returns what is in meta.json."""
    tokens, lengths = np.asarray(shard.tokens), np.diff(shard.index)  # slices of a memory map itself are slow to make
    with TokenWriter(out, shard.vocab_size, shard.eos_id) as writer:
        for document in chosen.tolist():
            first, last = shard.index[document], shard.index[document + 1]
            writer.add(tokens[first:last], lengths[document : document + 1], sizes[document])
    return writer.meta
