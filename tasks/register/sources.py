"""What a model learnt from, counted for its card."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tasks.core.artifact import Artifact
from tasks.formats.document_files import documents_in


def count_sources(documents: Iterable[Artifact]) -> list[dict[str, Any]]:
    """Training documents and characters by source and licence, sorted; from the train parts of document artifacts."""
    import polars as pl

    files = [documents_in(artifact, "train") for artifact in documents]
    tables = [pl.scan_parquet(file).select("source", "licence", "text") for file in files if file.exists()]
    if not tables:
        return []
    groups = pl.concat(tables).group_by("source", "licence")
    counted = groups.agg(documents=pl.len(), characters=pl.col("text").str.len_chars().sum())
    return counted.sort("source", "licence").collect().to_dicts()
