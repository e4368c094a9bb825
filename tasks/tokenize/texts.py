"""Reading the texts of a documents table, some at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from tasks.core.errors import DataError

BATCH = 256
"""Documents read at a time: bounds the memory."""


def read_texts(docs: Path) -> Iterator[tuple[list[str], list[str]]]:
    """Batches of (texts, their sources) in the file's order; raises `DataError` if it is not a documents table."""
    with pq.ParquetFile(docs, pre_buffer=False) as file:
        missing = {"text", "source"} - set(file.schema_arrow.names)
        if missing:
            raise DataError(f"{docs} is not a documents table: it has no column {', '.join(sorted(missing))}")
        for batch in file.iter_batches(batch_size=BATCH, columns=["text", "source"]):
            yield batch.column("text").to_pylist(), batch.column("source").to_pylist()
