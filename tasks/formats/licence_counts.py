"""How many documents tables hold, by source and licence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import Any

ORIGIN = ["source", "licence"]


def by_licence(tables: Iterable[Path | BytesIO], characters: bool = False) -> list[dict[str, Any]]:
    """Documents by source and licence (None: not stated), sorted by them, read a row group at a time from documents
    tables: a list of {source, licence, documents}, and the characters of their texts where these are asked for."""
    import pyarrow.compute as pc  # pages import this module, also in runs that have nothing to count
    import pyarrow.parquet as pq

    documents, written = Counter[tuple[str, str | None]](), Counter[tuple[str, str | None]]()
    for table in tables:
        with pq.ParquetFile(table, pre_buffer=False) as file:
            for n in range(file.num_row_groups):
                rows = file.read_row_group(n, columns=[*ORIGIN, *(["text"] if characters else [])])
                if characters:
                    rows = rows.set_column(2, "text", pc.utf8_length(rows["text"]))
                sums = [([], "count_all"), *([("text", "sum")] if characters else [])]
                for row in rows.group_by(ORIGIN).aggregate(sums).to_pylist():
                    of = row["source"], row["licence"]
                    documents[of] += row["count_all"]
                    written[of] += row.get("text_sum") or 0
    return [
        {"source": of[0], "licence": of[1], "documents": n} | ({"characters": written[of]} if characters else {})
        for of, n in sorted(documents.items(), key=lambda one: (one[0][0] or "", one[0][1] or ""))
    ]
