"""The tables that suites look at, put together from the shards' own."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.core.artifact import Artifact
from tasks.validate import row_languages, statistics

if TYPE_CHECKING:
    import polars as pl

COLUMNS = ("id", "text", "source", "uri", "licence", "label")
"""The documents' columns that rows are checked on."""

BATCH_BYTES = 16 << 20
"""Bytes of documents that are looked at together, by the file's average; at most `BATCH_ROWS`."""
BATCH_ROWS = 2000


def batches(docs: Path, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Columns of a documents table in batches, in its order."""
    import polars as pl
    import pyarrow.parquet as parquet

    with parquet.ParquetFile(docs, pre_buffer=False) as file:
        size = sum(file.metadata.row_group(n).total_byte_size for n in range(file.metadata.num_row_groups))
        rows = int(max(1, min(BATCH_ROWS, BATCH_BYTES * file.metadata.num_rows // max(size, 1))))
        for batch in file.iter_batches(batch_size=rows, columns=list(columns)):
            yield pl.DataFrame(batch)


def rows_of(docs: Path, shard: str, kind: str, lang: bool = False) -> Iterator[pl.DataFrame]:
    """All rows of a shard in batches, with the columns of the sample; `lang`, which takes longest, if asked for."""
    for batch in batches(docs, (*COLUMNS, "messages") if lang else COLUMNS):
        rows = row_languages.marked(batch).drop("messages") if lang else batch
        yield rows.with_columns(_beside(shard, kind))


def _beside(shard: str, kind: str) -> list[pl.Expr]:
    import polars as pl

    return [
        pl.lit(shard).alias("shard"),
        pl.lit(kind).alias("kind"),
        pl.col("text").str.len_chars().alias("length"),
    ]


def statistics_of(profiles: Sequence[Artifact]) -> pl.DataFrame:
    """The statistics of shards, a row for each."""
    import polars as pl

    return pl.concat([pl.read_parquet(profile / "profile.parquet") for profile in profiles])


def of_profiles(profiles: Sequence[Artifact], max_rows: int) -> tuple[pl.DataFrame, pl.DataFrame, dict[str, Any]]:
    """(statistics: a row per shard, sample: at most `max_rows` rows, corpus: the row for the whole), by shard.

    The sample has the documents' columns but messages, and lang, shard, kind and length (characters) beside them.
    """
    import polars as pl

    ordered = sorted(profiles, key=lambda profile: profile.shard or profile.key)
    share = max(1, max_rows // max(1, len(ordered)))
    table = statistics_of(ordered)
    samples = [
        pl.scan_parquet(profile / "sample.parquet")
        .head(share)
        .select(*COLUMNS, row_languages.COLUMN)
        .with_columns(_beside(shard, kind))
        for profile, (shard, kind) in zip(ordered, table.select("shard", "kind").iter_rows(), strict=True)
    ][:max_rows]
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
