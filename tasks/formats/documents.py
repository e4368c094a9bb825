"""The documents table on disk: read in batches, written in row groups of one size, byte for byte the same each time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.core.errors import DataError

PARTS = ("train", "valid", "test")
GROUP = 2000
"""Most rows in a batch and in a row group."""
GROUP_BYTES = 16 << 20
"""Bytes of text after which a row group is full; batches aim at it. Together they bound the memory."""

MESSAGES = pl.List(pl.Struct({"role": pl.String, "content": pl.String}))
DOCUMENTS = pl.Schema(
    [*((name, pl.String()) for name in ("id", "text", "source", "uri", "licence", "label")), ("messages", MESSAGES)]
)
LANGUAGE = pl.Schema({"lang": pl.String(), "lang_confidence": pl.Float32()})
"""Columns that documents have besides once their languages were identified."""
TARGETS = pl.Schema({"targets": pl.String()})
"""A column that documents of sources with `columns` have besides: see `tasks.text.targets`."""
OPTIONAL = pl.Schema({**TARGETS, **LANGUAGE})
REJECTS = pl.Schema([(name, pl.String()) for name in ("id", "part", "reason", "detail", "text", "source", "uri")])


class TableWriter:
    """Writes frames of one schema to a Parquet file; its bytes depend on the rows alone, not on how they came in."""

    def __init__(self, path: Path, schema: pl.Schema) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.rows = 0
        self._schema = schema
        # Arrow's strings are compact; a filtered polars column would keep the memory of the whole batch alive.
        self._pending = _arrow(schema.to_frame())
        self._writer = pq.ParquetWriter(path, self._pending.schema, compression="zstd")

    def add(self, frame: pl.DataFrame) -> None:
        """Append rows; columns beyond the schema are left out."""
        self.rows += frame.height
        added = _arrow(frame.select(self._schema.names()).cast(self._schema))
        self._pending = pa.concat_tables([self._pending, added])
        while rows := self._full():
            self._write(self._pending[:rows])
            self._pending = self._pending[rows:]

    def _full(self) -> int:
        """Rows of the next row group, 0 while it is not full."""
        heavy = GROUP
        if "text" in self._schema:
            sizes = pc.cumulative_sum(pc.binary_length(self._pending["text"]))
            heavy = (pc.sum(pc.less(sizes, GROUP_BYTES)).as_py() or 0) + 1
        rows = min(GROUP, heavy)
        return rows if rows <= self._pending.num_rows else 0

    def _write(self, table: pa.Table) -> None:
        self._writer.write_table(table.combine_chunks())

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._pending.num_rows:
            self._write(self._pending)
        self._writer.close()


def _arrow(frame: pl.DataFrame) -> pa.Table:
    return frame.rechunk().to_arrow(compat_level=pl.CompatLevel.oldest())


def schema_of(path: Path) -> pl.Schema:
    """The columns of a documents table: `DOCUMENTS`, and of `OPTIONAL` those that it has."""
    known = pq.read_schema(path).names
    return pl.Schema({**DOCUMENTS, **{name: kind for name, kind in OPTIONAL.items() if name in known}})


def read_batches(path: Path, columns: list[str] | None = None) -> Iterator[pl.DataFrame]:
    """Batches of at most `GROUP` rows in the file's order, of the columns of `schema_of` unless told; raises
    `DataError` if it is not a documents table."""
    wanted = columns or schema_of(path).names()
    with pq.ParquetFile(path, pre_buffer=False) as file:
        missing = sorted(set(wanted) - set(file.schema_arrow.names))
        if missing:
            raise DataError(f"{path} is not a documents table: it has no column {', '.join(missing)}")
        for batch in file.iter_batches(batch_size=_rows(file.metadata), columns=wanted):
            yield _documents(pa.Table.from_batches([batch])).select(wanted)


def _rows(metadata: pq.FileMetaData) -> int:
    """Rows that hold about `GROUP_BYTES`, going by the file's average."""
    size = sum(metadata.row_group(n).total_byte_size for n in range(metadata.num_row_groups))
    return int(max(1, min(GROUP, GROUP_BYTES * metadata.num_rows // max(size, 1))))


def _documents(table: pa.Table) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame.cast({name: kind for name, kind in {**DOCUMENTS, **OPTIONAL}.items() if name in frame.columns})


def row_bytes(frame: pl.DataFrame) -> int:
    """UTF-8 bytes of the text of all rows."""
    return int(frame["text"].str.len_bytes().sum())


def scanned(tables: Iterable[Path]) -> pl.LazyFrame:
    """Documents tables as one, with the columns that any of them has."""
    return pl.concat([pl.scan_parquet(table) for table in tables], how="diagonal")


def with_targets(table: pl.LazyFrame) -> pl.DataFrame:
    """(id, text, targets) of the documents that have targets, in order of id; no other text is read into memory."""
    if "targets" not in table.collect_schema().names():
        return pl.DataFrame(schema={"id": pl.String, "text": pl.String, "targets": pl.String})
    return table.filter(pl.col("targets").is_not_null()).select("id", "text", "targets").sort("id").collect()
