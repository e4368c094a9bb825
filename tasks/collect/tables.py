"""Readers of Parquet and Arrow files: a stream of rows, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.collect.formats import Row, require
from tasks.core.errors import DataError

PARTS = 8
"""Row groups or batches that a look at a table reads."""
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


def spread(path: Path, form: str, name: str, most: int) -> tuple[list[Row], int]:
    """(at most so many rows from all parts of a table, how many it has); raises `DataError` if it is no such file."""
    import pyarrow.parquet as pq

    with _readable(form, name):
        if form == ".parquet":
            with pq.ParquetFile(path) as file:
                groups = _evenly(file.num_row_groups, PARTS)
                tables = [file.read_row_group(group) for group in groups]
                return _some(tables, most), file.metadata.num_rows
        with _arrow_reader(path) as reader:
            batches = list(_batches(reader))
            return _some([batches[at] for at in _evenly(len(batches), PARTS)], most), sum(map(len, batches))


def _evenly(count: int, most: int) -> list[int]:
    return sorted({(count - 1) * part // max(most - 1, 1) for part in range(most)}) if count else []


def _some(tables: list[Any], most: int) -> list[Row]:
    rows = [
        row for table in tables for at in _evenly(len(table), most // len(tables))
        for row in table.slice(at, 1).to_pylist()
    ]  # fmt: skip
    return [Row(f"row {number}", row) for number, row in enumerate(rows, 1)]


def _batches(reader: Any) -> Iterator[Any]:
    import pyarrow as pa

    indexed = isinstance(reader, pa.RecordBatchFileReader)
    yield from (reader.get_batch(n) for n in range(reader.num_record_batches)) if indexed else reader


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
    with _arrow_reader(path) as reader:
        wanted = require(wanted, reader.schema.names, name)
        for batch in _batches(reader):
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
