"""Readers of Parquet and Arrow files: a stream of rows, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tasks.collect import apart
from tasks.collect.text_formats import SIZE, Row, beyond, require
from tasks.collect.unpack import Budget
from tasks.core.errors import DataError

PARTS = 8
"""Row groups or batches that a look at a table reads."""
ROWS = 64
"""Rows that become Python objects at once, if they are small."""
SMALL = 4_000_000
"""Bytes of so many rows; larger ones become Python objects one by one."""
MEMORY = 16
"""Times as much memory as the file has bytes, or the largest document may have, that its rows may take."""
LEAST, LOOK = 512_000_000, 1_000_000_000
"""Bytes of memory that the rows of a table, and a look at it, may always take."""
ROW = 64
"""Bytes that a row counts for beside its text."""


def rows(path: Path, form: str, name: str, wanted: list[str], limit: int, budget: Budget) -> Iterator[Row]:
    """One row for each record, the wanted columns of it; one of more than `limit` characters is a row with a reason.

    A table of a few bytes may stand for any number of them (dictionaries, runs, shared prefixes, packed pages), which
    only its decoder knows. So it is read in a process whose memory is limited. Raises `DataError` for what is no such
    file, lacks a column, or takes more memory or bytes than it may.
    """
    number, memory = 0, max(LEAST, MEMORY * max(limit, budget.packed))
    try:
        for part in _apart(memory, partial(_parts, path, form, name, wanted, limit)):
            for values, size in part:
                number += 1
                budget.spend(size + ROW, f"{name}, row {number}")
                reason, option = ("", "") if values is not None else (f"holds {beyond(limit)}", SIZE)
                yield Row(f"row {number}", values, reason, option=option)
    except MemoryError as error:
        raise DataError(
            f"{name}, after row {number}: takes more than {memory / 1e9:.2g} GB of memory, "
            f"from a file of {budget.packed:,} bytes: take it out, or raise max_document_mb of the source"
        ) from error


def _apart(memory: int, make: Any) -> Iterator[Any]:
    import pyarrow.parquet  # noqa: F401  before the process is forked, so that it has it

    return apart.within(memory, make)


def _parts(
    path: Path, form: str, name: str, wanted: list[str], limit: int
) -> Iterator[list[tuple[dict[str, Any] | None, int]]]:
    """(the row or None if it is too large, its size) of some rows each time."""
    import pyarrow as pa

    pa.set_memory_pool(pa.system_memory_pool())  # the others reserve memory that they do not need
    with _readable(form, name):
        for batch in (_parquet if form == ".parquet" else _arrow)(path, name, wanted):
            small = batch.nbytes <= SMALL
            for part in [batch] if small else (batch.slice(at, 1) for at in range(batch.num_rows)):
                found = [(row, _size(row)) for row in part.to_pylist()]
                yield [(row if size <= 2 * limit else None, size) for row, size in found]


def _size(value: Any) -> int:
    """Characters of all texts in a value, and as much for what else it holds."""
    if isinstance(value, (str, bytes)):
        return len(value)
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        return 8
    return sum(map(_size, value))


def spread(path: Path, form: str, name: str, most: int) -> tuple[list[Row], int]:
    """(at most so many rows from all parts of a table, how many it has); raises `DataError` if it is no such file, or
    takes far more memory than it is large."""
    try:
        memory = max(LOOK, MEMORY * path.stat().st_size)
        rows, there = next(_apart(memory, partial(_spread, path, form, name, most)))
        return rows, there
    except MemoryError as error:
        raise DataError(f"{name}: a look at it takes more than {memory / 1e9:.2g} GB of memory: take it out") from error


def _spread(path: Path, form: str, name: str, most: int) -> Iterator[tuple[list[Row], int]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pa.set_memory_pool(pa.system_memory_pool())
    with _readable(form, name):
        if form == ".parquet":
            with pq.ParquetFile(path) as file:
                groups = _evenly(file.num_row_groups, PARTS)
                tables = [file.read_row_group(group) for group in groups]
                yield _some(tables, most), file.metadata.num_rows
                return
        with _arrow_reader(path) as reader:
            batches = list(_batches(reader))
            yield _some([batches[at] for at in _evenly(len(batches), PARTS)], most), sum(map(len, batches))


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
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowCapacityError, OSError, UnicodeDecodeError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        kind, first = "Parquet" if form == ".parquet" else "Arrow", (str(error).splitlines() or ["damaged"])[0]
        raise DataError(f"{name}: cannot be read as {kind} ({first}): make the file again") from error


def _parquet(path: Path, name: str, wanted: list[str]) -> Iterator[Any]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
        wanted = require(wanted, file.schema_arrow.names, name)
        yield from file.iter_batches(batch_size=ROWS, columns=wanted, use_threads=False)


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
