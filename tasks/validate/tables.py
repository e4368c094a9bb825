"""The tables that suites look at, put together from the shards' own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.core.artifact import Artifact
from tasks.validate import statistics

if TYPE_CHECKING:
    import polars as pl


def of_profiles(profiles: Sequence[Artifact], max_rows: int) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]:
    """(statistics: a row per shard, sample: at most `max_rows` rows, corpus: the row for the whole), by shard.

    The sample has the documents' columns but messages, and shard and length (characters) beside them.
    """
    import polars as pl

    ordered = sorted(profiles, key=lambda profile: profile.shard or profile.key)
    share = max(1, max_rows // max(1, len(ordered)))
    table = pl.concat([pl.read_parquet(profile / "profile.parquet") for profile in ordered])
    samples = [
        pl.scan_parquet(profile / "sample.parquet")
        .head(share)
        .drop("messages")
        .with_columns(
            pl.lit(profile.shard or profile.key).alias("shard"), pl.col("text").str.len_chars().alias("length")
        )
        for profile in ordered[:max_rows]
    ]
    return table, pl.concat(samples).collect(), statistics.corpus(table)


def sums(table: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """One row for the whole: the sums of columns over all shards, and over those of each part as PART_COLUMN."""
    row = {column: int(table[column].sum()) for column in columns}
    for part in sorted(set(table["part"])):
        held = table.filter(table["part"] == part)
        row |= {f"{part}_{column}": int(held[column].sum()) for column in columns}
    return one_row(row)


def one_row(row: dict[str, Any]) -> pl.DataFrame:
    """A table of one row."""
    import polars as pl

    return pl.DataFrame([row])


def vocabulary_of(tokenizer: Path) -> int:
    """The size of a tokenizer.json's vocabulary: the largest id, added tokens included, plus one."""
    held = json.loads(tokenizer.read_bytes())
    vocabulary = held["model"]["vocab"]  # of unigram a list of [piece, score], where the place is the id
    known = vocabulary.values() if isinstance(vocabulary, dict) else range(len(vocabulary))
    ids = [*known, *(token["id"] for token in held.get("added_tokens", ()))]
    return 1 + max(ids, default=-1)
