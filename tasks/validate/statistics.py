"""One row of statistics for a shard of documents, and a sample of its rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl

EMAIL = r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+\.[A-Za-z]{2,}"
PHONE = r"\+?\d{1,3}[ .-]?\(?\d{2,4}\)?[ .-]\d{3,4}[ .-]\d{3,4}"
CONTROL = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x{9f}]"
SUMMED = ("rows", "bytes", "characters", "null_text", "empty_text", "duplicate_ids", "conversations", "labelled")


def profile(docs: Path, shard: str, source: str, kind: str) -> pl.DataFrame:
    """One row: source and kind, counts, lengths in characters (p01, p50, p99, mean, longest), shares of rows or of
    characters.

    `duplicate_share` counts texts that repeat an earlier one but for case and white space. `pii_share` is rough: rows
    with what looks like an e-mail address or a telephone number. The table is read in batches of columns, not whole.
    """
    import polars as pl

    text = pl.col("text")
    length = text.str.len_chars()
    flat = text.str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()
    measured = pl.scan_parquet(docs).select(
        *(pl.lit(value).alias(name) for name, value in (("shard", shard), ("source", source), ("kind", kind))),
        pl.len().cast(pl.Int64).alias("rows"),
        _count(text.str.len_bytes().sum(), "bytes"),
        _count(length.sum(), "characters"),
        _count(text.is_null().sum(), "null_text"),
        _count((text.str.strip_chars() == "").sum(), "empty_text"),
        _count(pl.len() - pl.col("id").n_unique(), "duplicate_ids"),
        _share(pl.len() - flat.hash(seed=0).n_unique(), "duplicate_share"),
        *(
            length.quantile(q, interpolation="lower").fill_null(0).cast(pl.Int64).alias(name)
            for q, name in ((0.01, "p01"), (0.5, "p50"), (0.99, "p99"), (1.0, "longest"))
        ),
        length.mean().fill_null(0.0).alias("mean_length"),
        _part(text.str.count_matches("\ufffd", literal=True).sum(), "replacement_share"),
        _part(text.str.count_matches(CONTROL).sum(), "control_share"),
        _part(text.str.count_matches(r"[^\x00-\x7f]").sum(), "non_ascii_share"),
        _share(text.str.contains(f"{EMAIL}|{PHONE}").sum(), "pii_share"),
        _count(pl.col("messages").is_not_null().sum(), "conversations"),
        _count(pl.col("label").is_not_null().sum(), "labelled"),
        _count(pl.col("label").drop_nulls().n_unique(), "labels"),
        _count((pl.col("licence").is_null() | (pl.col("licence") == "unknown")).sum(), "without_licence"),
    )
    return measured.collect(engine="streaming")


def sample(docs: Path, rows: int) -> pl.DataFrame:
    """The `rows` documents with the smallest ids, by id: ids are hashes, so they are as good as drawn at random."""
    import polars as pl

    return pl.scan_parquet(docs).bottom_k(rows, by="id").sort("id", "uri").collect()


def corpus(table: pl.DataFrame) -> dict[str, Any]:
    """One row for the whole: the sums over shards, the mean text length, the number of shards."""
    sums: dict[str, Any] = {name: int(table[name].sum()) for name in SUMMED if name in table.columns}
    return {"shards": table.height, **sums, "mean_length": sums["characters"] / max(1, sums["rows"])}


def _count(value: pl.Expr, name: str) -> pl.Expr:
    import polars as pl

    return value.fill_null(0).cast(pl.Int64).alias(name)


def _share(count: pl.Expr, name: str) -> pl.Expr:
    import polars as pl

    return (count.fill_null(0) / pl.max_horizontal(pl.len(), pl.lit(1))).cast(pl.Float64).alias(name)


def _part(characters: pl.Expr, name: str) -> pl.Expr:
    import polars as pl

    total = pl.col("text").str.len_chars().sum().fill_null(0)
    return (characters.fill_null(0) / pl.max_horizontal(total, pl.lit(1))).cast(pl.Float64).alias(name)
