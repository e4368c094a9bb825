import io
from pathlib import Path

import polars as pl

from tasks.formats.licence_counts import by_licence


def test_documents_of_all_tables_and_row_groups_are_counted_and_what_states_no_licence_is_not_lost(
    tmp_path: Path, documents
) -> None:
    unknown = documents(["three"], source="b").with_columns(licence=pl.lit(None, pl.String))
    first = pl.concat([documents(["one", "zwölf"], source="b"), unknown, documents(["", "5"], source="a")])
    first.write_parquet(tmp_path / "first.parquet", row_group_size=2)
    documents(["seven"], source="b").write_parquet(tmp_path / "second.parquet")
    tables = [tmp_path / "first.parquet", io.BytesIO((tmp_path / "second.parquet").read_bytes())]
    counted = by_licence(tables, characters=True)
    assert counted == [
        {"source": "a", "licence": "MIT", "documents": 2, "characters": 1},
        {"source": "b", "licence": None, "documents": 1, "characters": 5},
        {"source": "b", "licence": "MIT", "documents": 3, "characters": 13},
    ]
    assert by_licence([tmp_path / "second.parquet"]) == [{"source": "b", "licence": "MIT", "documents": 1}]
    assert by_licence([]) == []
