"""Which documents may be taken in at all: those of an accepted shard that nobody took down and that have an
allowed licence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import polars as pl

from tasks.clean.licences import UNKNOWN, allowed, matches

TAKEDOWN = "takedown"


def without_text(dropped: pl.DataFrame) -> pl.DataFrame:
    """Dropped documents, the texts of those that were taken down left out: they are not to be kept."""
    return dropped.with_columns(pl.when(pl.col("reason") == TAKEDOWN).then(pl.lit("")).otherwise("text").alias("text"))


class Admission:
    """Judges batches of documents and counts how many have each allowed licence.

    `licences` None allows all; `taken` are the ids of documents that were taken down; `failed` says why validation set
    the whole shard aside, and is empty if it did not.
    """

    def __init__(self, licences: Sequence[str] | None, taken: Collection[str] = (), failed: Sequence[str] = ()) -> None:
        self.licences, self.taken, self.failed = licences, list(taken), "; ".join(failed)
        self._counts = Counter(dict.fromkeys(licences or (), 0))

    def judge(self, batch: pl.DataFrame) -> pl.DataFrame:
        """The batch with the columns reason and detail, null for documents that may be taken in."""
        licence = pl.col("licence").fill_null(UNKNOWN)
        refused = licence.is_in(self._refused(batch.select(licence)["licence"]))
        down = pl.col("id").is_in(self.taken)
        aside, why = pl.lit(bool(self.failed)), pl.lit(self.failed)
        reason = pl.when(down).then(pl.lit(TAKEDOWN)).when(aside).then(pl.lit("quarantine"))
        detail = pl.when(down).then(pl.lit("taken down by hand")).when(aside).then(why)
        return batch.with_columns(
            reason.when(refused).then(pl.lit("licence")).alias("reason"),
            detail.when(refused).then(licence).alias("detail"),
        )

    def stats(self) -> dict[str, Any]:
        """How many documents have each licence of the list; nothing without a list."""
        return {} if self.licences is None else {"licences": dict(self._counts)}

    def _refused(self, licences: pl.Series) -> list[str]:
        if self.licences is None:
            return []
        refused = []
        for name, number in licences.value_counts().iter_rows():
            self._counts.update({pattern: number for pattern in self.licences if matches(name, pattern)})
            if not allowed(name, self.licences):
                refused.append(name)
        return refused
