"""The small files of an evaluation: task.json, which it reads, and the JSON that it writes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from tasks.core.errors import ArtifactError
from tasks.formats import model_folder


def read_task(folder: Path, kind: str) -> dict[str, Any]:
    """task.json of a fine-tuned model; raises `ArtifactError` unless it is of `kind`."""
    task = model_folder.read_task(folder)
    if not task:
        raise ArtifactError(f"{folder} holds no {model_folder.TASK_FILE}: it is not a fine-tuned model")
    if task["kind"] != kind:
        raise ArtifactError(f"{folder} is a model for {task['kind']}, not for {kind}")
    return task


def rounded(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics to six decimals: their last bits depend on how a library adds up."""
    return {name: round(float(value), 6) for name, value in metrics.items()}


def write_json(path: Path, value: Any) -> None:
    """Indented JSON with a line break at its end."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def held_out(evalset: Path, sources: tuple[str, ...]) -> pl.LazyFrame:
    """The frozen held-out documents of some sources; of all if none is named."""
    table = pl.scan_parquet(evalset)
    return table.filter(pl.col("source").is_in(sources)) if sources else table
