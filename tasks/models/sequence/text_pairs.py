"""Documents with another text beside: a translation, a summary."""

from __future__ import annotations

import polars as pl

from tasks.formats.documents import with_targets
from tasks.text import targets


def pairs_of(table: pl.LazyFrame) -> pl.DataFrame:
    """(id, text, target) of the documents with a target, in order of id."""
    found = with_targets(table)
    held = [targets.read(one).get("target") for one in found["targets"]]
    whole = found.select("id", "text").with_columns(pl.Series("target", held, dtype=pl.String))
    return whole.filter(pl.col("target").str.strip_chars() != "")
