"""How many rows tables hold, without reading them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow.parquet as pq


def rows_in(tables: Iterable[Path]) -> int:
    """The rows of all tables together, by what the files say of themselves."""
    return sum(pq.read_metadata(table).num_rows for table in tables)
