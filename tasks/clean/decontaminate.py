"""Take out training documents that overlap evaluation sets, by word n-grams (GPT-3, Brown et al. 2020, appendix C).

Words are bare ones (`tasks.text.words.bare`). The overlap of two documents is the share of distinct n-grams that
they have in common, of the one that has fewer: 1 when one contains the other. A document of fewer words than an n-gram
is compared whole with the evaluation documents that are as short.

Boilerplate, n-grams that occur in many documents (`tasks.clean.boilerplate`), does not count on either side; only an
evaluation document that has nothing else is compared with all of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from conf.schema.clean import DecontaminateConf
from tasks.clean.filtering import divide, sift
from tasks.formats.documents import read_batches
from tasks.text.words import Hashes, Mask, Offsets, Runs, bare, ngrams, repeats, word_hashes

TRAINING = ("train", "valid")
ITEMS = 20
"""Evaluation documents that a shard's statistics name."""
_SHARED = r": \d+ of \d+ word \d+-grams shared$"


@dataclass(frozen=True)
class EvalIndex:
    """The distinct n-grams of the evaluation sets, sorted by hash, and the document of each."""

    ids: pl.Series
    """How each document is told of: by its id in the project's own set, by set and uri in another."""
    grams: Hashes
    owners: Offsets
    sizes: Offsets
    """Distinct n-grams of each evaluation document, those that count."""
    common: Hashes
    """Boilerplate, in order."""
    whole: Mask
    """Evaluation documents of which boilerplate counts, too."""

    @classmethod
    def build(cls, evalsets: Sequence[Path], conf: DecontaminateConf, common: Hashes | None = None) -> EvalIndex:
        """Index the documents of evaluation sets, the project's own first; `common` is their boilerplate."""
        ids, pairs = [pl.Series("id", [], dtype=pl.String)], [_pairs(np.empty(0, np.uint64), np.empty(0, np.int64))]
        count = 0
        for number, evalset in enumerate(evalsets):
            for batch in read_batches(evalset, ["id", "text", "source", "uri"]):
                runs = grams_of(batch["text"], conf)
                pairs.append(_pairs(runs.values, runs.owners + count))
                ids.append(batch.select(pl.format("{} {}", "source", "uri") if number else "id").to_series())
                count += batch.height
        table = pl.concat(pairs).unique().sort("gram", "owner")
        grams, owners = table["gram"].to_numpy(), table["owner"].to_numpy()
        common = np.empty(0, np.uint64) if common is None else np.unique(common)
        rare = ~np.isin(grams, common)
        whole = np.bincount(owners[rare], minlength=count) == 0
        counted = rare | whole[owners]
        grams, owners = grams[counted], owners[counted]
        return cls(pl.concat(ids), grams, owners, np.bincount(owners, minlength=count), common, whole)

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
        rows, owners = counts["row"].to_numpy(), counts["owner"].to_numpy()
        own = np.where(self.whole[owners], sizes[rows], (sizes - self._boilerplate(runs))[rows])
        smaller = np.minimum(own, self.sizes[owners])
        ids = self.ids.gather(counts["owner"])
        return (
            counts.with_columns(pl.Series("of", smaller, dtype=pl.Int64), ids.alias("evalset_id"))
            .filter(pl.col("shared") > conf.max_share * pl.col("of"))
            .sort(pl.col("shared") / pl.col("of"), "evalset_id", descending=[True, False])
            .unique("row", keep="first", maintain_order=True)
            .sort("row")
        )

    def _boilerplate(self, runs: Runs) -> Offsets:
        """How many distinct n-grams of each document are boilerplate."""
        there = np.isin(runs.values, self.common)
        found = pl.DataFrame({"row": runs.owners[there], "gram": runs.values[there]}).unique()
        return np.bincount(found["row"].to_numpy(), minlength=len(runs.lengths)).astype(np.int64)


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
    common: Path | None = None,
) -> dict[str, Any]:
    """Write train and valid without the documents that overlap `evalsets`, tables of documents of which the first is
    the project's own; `common` is what `boilerplate.find` wrote for the shard.

    Returns counts per part, and under evaluation_items the evaluation documents that took most out, with how many.
    """
    index = EvalIndex.build(evalsets, conf, pl.read_parquet(common)["gram"].to_numpy() if common else None)
    items: Counter[str] = Counter()

    def let(batch: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        kept, dropped = divide(judge(batch, index, conf))
        items.update(dropped["detail"].str.replace(_SHARED, ""))
        return kept, dropped

    stats = sift(docs, out, rejects, ((part, let) for part in TRAINING))
    most = sorted(items.items(), key=lambda item: (-item[1], item[0]))[:ITEMS]
    return {**stats, "evaluation_items": dict(most)}
