"""Readers of Parquet and Arrow files: a stream of rows, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.collect.formats import Row, require
from tasks.core.errors import DataError

ROWS = 64
"""Rows that become Python objects at once."""


def rows(path: Path, form: str, name: str, wanted: list[str]) -> Iterator[Row]:
    """One row for each record, the wanted columns of it.

    Raises `DataError` for what is no such file or lacks a column.
    """
    batches = _parquet if form == ".parquet" else _arrow
    number = 0
    with _readable(form, name):
        for batch in batches(path, name, wanted):
            for values in batch.to_pylist():
                number += 1
                yield Row(f"row {number}", values)


def columns(path: Path, form: str, name: str) -> list[str]:
    """The names of a table's columns; raises `DataError` for what is no such file."""
    import pyarrow.parquet as pq

    with _readable(form, name):
        if form == ".parquet":
            return list(pq.read_schema(path).names)
        with _arrow_reader(path) as reader:
            return list(reader.schema.names)


@contextmanager
def _readable(form: str, name: str) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        kind, first = "Parquet" if form == ".parquet" else "Arrow", (str(error).splitlines() or ["damaged"])[0]
        raise DataError(f"{name}: cannot be read as {kind} ({first}): make the file again") from error


def _parquet(path: Path, name: str, wanted: list[str]) -> Iterator[Any]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
        wanted = require(wanted, file.schema_arrow.names, name)
        yield from file.iter_batches(batch_size=ROWS, columns=wanted)


def _arrow(path: Path, name: str, wanted: list[str]) -> Iterator[Any]:
    import pyarrow as pa

    with _arrow_reader(path) as reader:
        wanted = require(wanted, reader.schema.names, name)
        indexed = isinstance(reader, pa.RecordBatchFileReader)
        for batch in (reader.get_batch(n) for n in range(reader.num_record_batches)) if indexed else reader:
            batch.validate(full=True)
            chosen = batch.select(wanted)
            yield from (chosen.slice(start, ROWS) for start in range(0, chosen.num_rows, ROWS))


@contextmanager
def _arrow_reader(path: Path) -> Iterator[Any]:
    """The file format (Feather is the same), or the stream, which `datasets` writes."""
    import pyarrow as pa

    with pa.memory_map(str(path)) as mapped:
        indexed = mapped.read(6) == b"ARROW1"
        mapped.seek(0)
        with pa.ipc.open_file(mapped) if indexed else pa.ipc.open_stream(mapped) as reader:
            yield reader
