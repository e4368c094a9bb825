"""Tables of rows of a fixed width in files: there may be more of them than fit into memory.

Ids and exact hashes are 16 bytes here and 32 hex digits elsewhere; both forms have the same order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from tasks.core.errors import DataError

Rows = NDArray[Any]
"""Rows of a structured type."""
Ids = NDArray[np.bytes_]
"""16 bytes each; numpy compares them as memory, since all have that length."""
Indices = NDArray[np.int64]

ID = "S16"
_DIGITS = b"0123456789abcdef"


class Column:
    """Rows in one file, numbered from 0 in the order in which they were appended."""

    def __init__(self, path: Path, dtype: list[Any]) -> None:
        self.path, self.dtype = path, np.dtype(dtype)

    def append(self, **fields: Any) -> None:
        """Add rows at the end, given as one array for each field."""
        rows = np.empty(len(next(iter(fields.values()))), self.dtype)
        for name, values in fields.items():
            rows[name] = values
        self.add(rows)

    def add(self, rows: Rows) -> None:
        """Add rows at the end."""
        with self.path.open("ab") as file:
            rows.tofile(file)

    def read(self, first: int = 0, count: int = -1) -> Rows:
        """`count` rows from the first on; all of them without a count."""
        if not self.path.exists():
            return np.empty(0, self.dtype)
        return np.fromfile(self.path, self.dtype, count, offset=first * self.dtype.itemsize)

    def take(self, numbers: NDArray[Any]) -> Rows:
        """Rows by number, in any order.

        They are read one by one: a memory map of the file would count with all that it touches, folios of up to 2 MB.
        """
        width = self.dtype.itemsize
        if not len(numbers):
            return np.empty(0, self.dtype)
        with self.path.open("rb", buffering=0) as file:
            descriptor = file.fileno()
            rows = [os.pread(descriptor, width, number * width) for number in numbers.tolist()]
        return np.frombuffer(b"".join(rows), self.dtype)


class Partitions:
    """Rows divided by the start of an id or a hash among files of about one size, in ascending order of files.

    The files' names are that of `path` and a number; there is none for no rows.
    """

    def __init__(self, path: Path, dtype: list[Any], count: int) -> None:
        self._columns = [Column(path.with_name(f"{path.name}-{number:05d}"), dtype) for number in range(count)]

    def __len__(self) -> int:
        return len(self._columns)

    def append(self, heads: NDArray[np.uint32], **fields: Any) -> None:
        """Add rows, each to the file that its head, the first 32 bits of what they are divided by, falls to."""
        self.put((heads.astype(np.uint64) * np.uint64(len(self)) >> np.uint64(32)).astype(np.int64), **fields)

    def put(self, numbers: Indices, **fields: Any) -> None:
        """Add rows, each to the file of that number."""
        order = np.argsort(numbers, kind="stable")
        borders = np.searchsorted(numbers[order], np.arange(len(self) + 1))
        for number in np.flatnonzero(np.diff(borders)):
            own = order[borders[number] : borders[number + 1]]
            self._columns[number].append(**{name: values[own] for name, values in fields.items()})

    def pop(self, number: int) -> Rows:
        """The rows of one file, in the order in which they were appended; the file is removed."""
        rows = self._columns[number].read()
        self._columns[number].path.unlink(missing_ok=True)
        return rows

    def drain(self) -> Iterator[Rows]:
        """The rows of each file in turn."""
        return (self.pop(number) for number in range(len(self)))


def heads(ids: Ids) -> NDArray[np.uint32]:
    """The first 32 bits of each id, as numbers of the same order."""
    return np.ascontiguousarray(ids).view(">u4").reshape(-1, 4)[:, 0].astype(np.uint32)


def from_hex(column: pa.Array, where: Path) -> Ids:
    """Ids of an Arrow column of strings; raises `DataError` if one is not 32 hex digits."""
    text = column.cast(pa.large_string())
    _, offsets, data = text.buffers()
    borders = np.frombuffer(offsets, np.int64)[text.offset : text.offset + len(text) + 1]
    digits = data[borders[0] : borders[-1]].to_pybytes() if len(text) else b""
    if not text.null_count and (np.diff(borders) == 32).all() and not digits.translate(None, _DIGITS):
        return np.frombuffer(bytes.fromhex(digits.decode()), ID)
    raise DataError(f"{where}: an id or a hash in it is not 32 lower-case hex digits; make it again")


def to_hex(ids: Ids) -> pl.Series:
    """Ids as a column of strings."""
    text = pa.py_buffer(np.ascontiguousarray(ids).tobytes().hex().encode())
    offsets = pa.py_buffer(np.arange(0, 32 * len(ids) + 1, 32, dtype=np.int64))
    return pl.Series(pl.from_arrow(pa.LargeStringArray.from_buffers(len(ids), offsets, text)))


def find(ordered: Ids, wanted: Ids) -> tuple[Indices, NDArray[np.bool_]]:
    """Where each wanted id is among distinct ordered ones, and whether it is there at all."""
    if not len(ordered):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), np.bool_)
    places = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    return places, ordered[places] == wanted
