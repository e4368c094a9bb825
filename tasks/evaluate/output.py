"""What an evaluation reads beside weights: task.json, and the frozen held-out documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from tasks.core.errors import ArtifactError


def read_task(folder: Path, kind: str) -> dict[str, Any]:
    """task.json of a fine-tuned model; raises `ArtifactError` unless it is of `kind`."""
    try:
        task: dict[str, Any] = json.loads((folder / "task.json").read_text())
    except FileNotFoundError:
        raise ArtifactError(f"{folder} holds no task.json: it is not a fine-tuned model") from None
    if task["kind"] != kind:
        raise ArtifactError(f"{folder} is a model for {task['kind']}, not for {kind}")
    return task


def held_out(evalset: Path, sources: tuple[str, ...]) -> pl.LazyFrame:
    """The frozen held-out documents of some sources; of all if none is named."""
    table = pl.scan_parquet(evalset)
    return table.filter(pl.col("source").is_in(sources)) if sources else table
