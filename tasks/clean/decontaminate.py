"""Take out training documents that overlap evaluation sets, by word n-grams (GPT-3, Brown et al. 2020, appendix C).

Words are bare ones (`tasks.text.words.bare`). The overlap of two documents is the share of distinct n-grams that
they have in common, of the one that has fewer: 1 when one contains the other. A document of fewer words than an n-gram
is compared whole with the evaluation documents that are as short.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from conf.schema.clean import DecontaminateConf
from tasks.clean.documents import read_batches
from tasks.clean.sieve import divide, sift
from tasks.text.words import Hashes, Offsets, Runs, bare, ngrams, repeats, word_hashes

TRAINING = ("train", "valid")


@dataclass(frozen=True)
class EvalIndex:
    """The distinct n-grams of the evaluation sets, sorted by hash, and the document of each."""

    ids: pl.Series
    """How each document is told of: by its id in the project's own set, by set and uri in another."""
    grams: Hashes
    owners: Offsets
    sizes: Offsets
    """Distinct n-grams of each evaluation document."""

    @classmethod
    def build(cls, evalsets: Sequence[Path], conf: DecontaminateConf) -> EvalIndex:
        """Index the documents of evaluation sets, the project's own first."""
        ids, pairs = [pl.Series("id", [], dtype=pl.String)], [_pairs(np.empty(0, np.uint64), np.empty(0, np.int64))]
        count = 0
        for number, evalset in enumerate(evalsets):
            for batch in read_batches(evalset, ["id", "text", "source", "uri"]):
                runs = grams_of(batch["text"], conf)
                pairs.append(_pairs(runs.values, runs.owners + count))
                ids.append(batch.select(pl.format("{} {}", "source", "uri") if number else "id").to_series())
                count += batch.height
        table = pl.concat(pairs).unique().sort("gram", "owner")
        owners = table["owner"].to_numpy()
        return cls(pl.concat(ids), table["gram"].to_numpy(), owners, np.bincount(owners, minlength=count))

    def worst_overlap(self, texts: pl.Series, conf: DecontaminateConf) -> pl.DataFrame:
        """For each row (counted from 0) that overlaps too much: row, evalset_id, n-grams shared, of how many."""
        runs = grams_of(texts, conf)
        sizes = runs.lengths - repeats(runs)
        begins = np.searchsorted(self.grams, runs.values, "left")
        hits = np.searchsorted(self.grams, runs.values, "right") - begins
        found = np.flatnonzero(hits)
        spread = np.repeat(found, hits[found])
        within = np.arange(len(spread)) - np.repeat(np.cumsum(hits[found]) - hits[found], hits[found])
        shared = pl.DataFrame(
            {"row": runs.owners[spread], "owner": self.owners[begins[spread] + within], "gram": runs.values[spread]}
        )
        counts = shared.group_by("row", "owner").agg(shared=pl.col("gram").n_unique())
        smaller = np.minimum(sizes[counts["row"].to_numpy()], self.sizes[counts["owner"].to_numpy()])
        ids = self.ids.gather(counts["owner"])
        return (
            counts.with_columns(pl.Series("of", smaller, dtype=pl.Int64), ids.alias("evalset_id"))
            .filter(pl.col("shared") > conf.max_share * pl.col("of"))
            .sort(pl.col("shared") / pl.col("of"), "evalset_id", descending=[True, False])
            .unique("row", keep="first", maintain_order=True)
            .sort("row")
        )


def _pairs(grams: Hashes, owners: Offsets) -> pl.DataFrame:
    return pl.DataFrame({"gram": grams, "owner": owners}, schema={"gram": pl.UInt64, "owner": pl.Int64})


def grams_of(texts: pl.Series, conf: DecontaminateConf) -> Runs:
    """Hashes of the word n-grams of each text."""
    return ngrams(word_hashes(bare(texts)), conf.ngram, conf.ngram_characters)


def judge(batch: pl.DataFrame, index: EvalIndex, conf: DecontaminateConf) -> pl.DataFrame:
    """The batch with the columns reason and detail, null for documents that may be trained on."""
    overlap = index.worst_overlap(batch["text"], conf)
    grams = pl.format(f"{{}}: {{}} of {{}} word {conf.ngram}-grams shared", "evalset_id", "shared", "of")
    rows = batch.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    found = rows.join(overlap.select("row", grams.alias("grams")), on="row", how="left", maintain_order="left")
    member = pl.col("id").is_in(index.ids.implode())
    overlaps = pl.when(pl.col("grams").is_not_null()).then(pl.lit("overlaps_evalset"))
    return found.with_columns(
        pl.when(member).then(pl.lit("in_evalset")).otherwise(overlaps).alias("reason"),
        pl.when(member).then("id").otherwise("grams").alias("detail"),
    ).drop("row", "grams")


def decontaminate(
    docs: Callable[[str], Path],
    evalsets: Sequence[Path],
    out: Callable[[str], Path],
    rejects: Path,
    conf: DecontaminateConf,
) -> dict[str, Any]:
    """Write train and valid without the documents that overlap `evalsets`, tables of documents of which the first is
    the project's own; returns counts per part."""
    index = EvalIndex.build(evalsets, conf)
    return sift(docs, out, rejects, ((part, lambda batch: divide(judge(batch, index, conf))) for part in TRAINING))
