"""Let a shard's documents through a judge: what passes goes on, what does not is kept beside with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import polars as pl

from tasks.clean.documents import DOCUMENTS, REJECTS, TableWriter, read_batches, row_bytes

Judge = Callable[[pl.DataFrame], tuple[pl.DataFrame, pl.DataFrame]]
"""Takes a batch of one part; gives the documents to keep, and the original rows to drop with `reason` and `detail`."""


def sift(
    docs: Callable[[str], Path], out: Callable[[str], Path], rejects: Path, judges: Iterable[tuple[str, Judge]]
) -> dict[str, Any]:
    """Read each part from `docs(part)` and write what its judge keeps to `out(part)`.

    Returns, under parts, documents and bytes in and out and the number of documents per reason.
    """
    stats = {}
    with TableWriter(rejects, REJECTS) as reject_writer:
        for part, judge in judges:
            sizes: Counter[str] = Counter(documents_in=0, documents_out=0, bytes_in=0, bytes_out=0)
            reasons: Counter[str] = Counter()
            with TableWriter(out(part), DOCUMENTS) as writer:
                for batch in read_batches(docs(part)):
                    kept, dropped = judge(batch)
                    writer.add(kept)
                    reject_writer.add(dropped.with_columns(pl.lit(part).alias("part")))
                    reasons.update(dropped["reason"].to_list())
                    sizes.update(documents_in=batch.height, documents_out=kept.height)
                    sizes.update(bytes_in=row_bytes(batch), bytes_out=row_bytes(kept))
            stats[part] = {**sizes, "reasons": dict(sorted(reasons.items()))}
    return {"parts": stats}


def divide(judged: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows without a reason to drop them, and those with one."""
    return judged.filter(pl.col("reason").is_null()), judged.filter(pl.col("reason").is_not_null())
