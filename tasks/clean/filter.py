"""Take the duplicates out of a shard; they are kept beside with what they duplicate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from tasks.clean.filtering import divide, sift
from tasks.formats.documents import PARTS


def apply_drops(docs: Callable[[str], Path], drops: Path, out: Callable[[str], Path], rejects: Path) -> dict[str, Any]:
    """Write each part without the documents listed in `drops` (id, kept_id, reason); returns counts per part."""
    dropped = pl.read_parquet(drops).select("id", "reason", detail=pl.format("kept: {}", "kept_id"))

    def judge(batch: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        return divide(batch.join(dropped, on="id", how="left", maintain_order="left"))

    return sift(docs, out, rejects, ((part, judge) for part in PARTS))
