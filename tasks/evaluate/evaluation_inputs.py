"""What an evaluation reads beside weights: task.json, and the frozen held-out documents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from tasks.core.errors import ArtifactError
from tasks.formats import model_folder

FROZEN = "it was frozen without: raise data.evalset.version to freeze another"
"""What to do where the evaluation set has nothing of what is measured."""


def read_task(folder: Path, kind: str) -> dict[str, Any]:
    """task.json of a fine-tuned model; raises `ArtifactError` unless it is of `kind`."""
    task = model_folder.read_task(folder)
    if not task:
        raise ArtifactError(f"{folder} holds no {model_folder.TASK_FILE}: it is not a fine-tuned model")
    if task["kind"] != kind:
        raise ArtifactError(f"{folder} is a model for {task['kind']}, not for {kind}")
    return task


def held_out(evalset: Path, sources: tuple[str, ...]) -> pl.LazyFrame:
    """The frozen held-out documents of some sources; of all if none is named."""
    table = pl.scan_parquet(evalset)
    return table.filter(pl.col("source").is_in(sources)) if sources else table
