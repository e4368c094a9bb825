"""Reading the texts of a documents table, some at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from tasks.core.errors import DataError

BATCH = 256
"""Documents read at a time: bounds the memory."""


def read_texts(docs: Path) -> Iterator[list[str]]:
    """Batches of texts in the file's order; raises `DataError` if it is not a documents table."""
    return (texts for texts, _, _ in read_tagged(docs))


def read_tagged(docs: Path) -> Iterator[tuple[list[str], list[str], list[str | None]]]:
    """Batches of (texts, their sources, their languages: None where the table does not say)."""
    with pq.ParquetFile(docs, pre_buffer=False) as file:
        names = set(file.schema_arrow.names)
        if missing := {"text", "source"} - names:
            raise DataError(f"{docs} is not a documents table: it has no column {', '.join(sorted(missing))}")
        columns = ["text", "source", *({"lang"} & names)]
        for batch in file.iter_batches(batch_size=BATCH, columns=columns):
            languages = batch.column("lang").to_pylist() if "lang" in names else [None] * len(batch)
            yield batch.column("text").to_pylist(), batch.column("source").to_pylist(), languages
