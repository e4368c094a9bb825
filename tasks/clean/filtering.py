"""Let a shard's documents through a judge: what passes goes on, what does not is kept beside with its reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import polars as pl

from tasks.core.events import Progress
from tasks.formats.documents import REJECTS, TableWriter, read_batches, row_bytes, schema_of
from tasks.formats.row_counts import rows_in

Judge = Callable[[pl.DataFrame], tuple[pl.DataFrame, pl.DataFrame]]
"""Takes a batch of one part; gives the documents to keep, and the original rows to drop with `reason` and `detail`."""


def sift(
    docs: Callable[[str], Path],
    out: Callable[[str], Path],
    rejects: Path,
    judges: Iterable[tuple[str, Judge]],
    added: pl.Schema | None = None,
) -> dict[str, Any]:
    """Read each part from `docs(part)` and write what its judge keeps to `out(part)`, with the columns `added`.

    Returns, under parts, documents and bytes in and out and the number of documents per reason.
    """
    stats, parts = {}, list(judges)
    progress = Progress(rows_in(docs(part) for part, _ in parts), "document")
    with TableWriter(rejects, REJECTS) as reject_writer:
        for part, judge in parts:
            with TableWriter(out(part), pl.Schema({**schema_of(docs(part)), **(added or {})})) as writer:
                passage = Passage(part, writer, reject_writer)
                for batch in read_batches(docs(part)):
                    passage.let(*judge(batch), row_bytes(batch))
                    progress.add(batch.height)
            stats[part] = passage.stats()
    return {"parts": stats}


class Passage:
    """Where one part's documents go, counted: on, or to the rejects."""

    def __init__(self, part: str, passed: TableWriter, rejects: TableWriter) -> None:
        self.part, self.passed, self.rejects = part, passed, rejects
        self._sizes: Counter[str] = Counter(documents_in=0, documents_out=0, bytes_in=0, bytes_out=0)
        self._reasons: Counter[str] = Counter()

    def let(self, kept: pl.DataFrame, dropped: pl.DataFrame, bytes_in: int) -> None:
        """Write what a judge said of one batch, which had `bytes_in` of text."""
        self.passed.add(kept)
        self.rejects.add(dropped.with_columns(pl.lit(self.part).alias("part")))
        self._reasons.update(dropped["reason"].to_list())
        self._sizes.update(documents_in=kept.height + dropped.height, documents_out=kept.height)
        self._sizes.update(bytes_in=bytes_in, bytes_out=row_bytes(kept))

    def stats(self) -> dict[str, Any]:
        """Documents and bytes in and out, and the number of documents per reason."""
        return {**self._sizes, "reasons": dict(sorted(self._reasons.items()))}


def divide(judged: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows without a reason to drop them, and those with one."""
    return judged.filter(pl.col("reason").is_null()), judged.filter(pl.col("reason").is_not_null())
