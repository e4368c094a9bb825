"""What the contract of training's input is checked on: a row for each shard and part."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import polars as pl
    from numpy.typing import NDArray

BROKEN = (
    "torn_bytes", "beyond_vocabulary", "vocabulary_differs", "without_eos", "empty_documents", "index_off_by",
    "meta_off_by",
)  # fmt: skip
"""What of a token file is to be 0."""
REQUIRED = ("id", "text", "source", "uri", "licence")


def documents(docs: Iterable[tuple[str, str, Path]]) -> pl.DataFrame:
    """One row for each (shard, part, docs.parquet): its columns and types, rows, and what breaks the contract.

    A required column that is not there counts as null in every row; `repeated_ids` counts the ids that stand in another
    shard or part, too.
    """
    import polars as pl

    tables = list(docs)
    rows = []
    for shard, part, path in tables:
        schema = pl.read_parquet_schema(path)
        row: dict[str, Any] = {
            "shard": shard,
            "part": part,
            "schema": ", ".join(f"{n}: {t}" for n, t in schema.items()),
        }
        known = [name for name in REQUIRED if schema.get(name) == pl.String]
        nulls = {name: pl.col(name).is_null().sum() if name in known else pl.len() for name in REQUIRED}
        empty = (pl.col("text").str.strip_chars() == "").sum() if "text" in known else pl.lit(0)
        repeated = pl.len() - pl.col("id").n_unique() if "id" in known else pl.lit(0)
        counts = [pl.len().alias("rows"), *(count.alias(f"null_{name}") for name, count in nulls.items())]
        counts += [empty.alias("empty_text"), repeated.alias("duplicate_ids")]
        measured = pl.scan_parquet(path).select(counts).collect(engine="streaming").row(0, named=True)
        rows.append(row | {name: int(value) for name, value in measured.items()})
    table = pl.DataFrame(rows, infer_schema_length=None)
    whole = [path for _, _, path in tables if pl.read_parquet_schema(path).get("id") == pl.String]
    return table.with_columns(pl.Series("repeated_ids", _repeated(whole, tables), dtype=pl.Int64))


def _repeated(paths: list[Path], tables: list[tuple[str, str, Path]], bucket: int = 1 << 20) -> list[int]:
    """For each table, how many of its distinct ids another one holds; ids are looked at in buckets by their hash."""
    import polars as pl

    found = dict.fromkeys(paths, 0)
    total = sum(int(pl.scan_parquet(path).select(pl.len()).collect().item()) for path in paths)
    buckets = 1 + total // bucket
    for number in range(buckets):
        scans = [
            pl.scan_parquet(path)
            .select(pl.col("id").hash(seed=0).alias("id"))
            .filter(pl.col("id") % buckets == number)
            .unique()
            .with_columns(pl.lit(index).alias("table"))
            for index, path in enumerate(paths)
        ]
        if scans:
            shared = pl.concat(scans).filter(pl.len().over("id") > 1).group_by("table").len().collect()
            for index, count in shared.iter_rows():
                found[paths[index]] += count
    return [found.get(path, 0) for _, _, path in tables]


def tokens(parts: Iterable[tuple[str, str, Path]], vocabulary: int, chunk: int = 1 << 22) -> pl.DataFrame:
    """One row for each (shard, part, folder of a token file); `vocabulary`: its size.

    Of a row that breaks the contract the name of the shard says the part, and the first document that does.
    Token files are read through a memory map, `chunk` tokens at a time.
    """
    import polars as pl

    return pl.DataFrame([_tokens(*part, vocabulary, chunk) for part in parts], infer_schema_length=None)


def _tokens(shard: str, part: str, folder: Path, vocabulary: int, chunk: int) -> dict[str, Any]:
    import numpy as np

    from tasks.formats.tokens import TOKENS, TokenFile

    file = TokenFile.unchecked(folder)
    meta, index, ids = file.meta, file.index, file.tokens
    count, torn = divmod(file.size, ids.itemsize)
    ends = index[1:][(index[1:] > 0) & (index[1:] <= ids.size)] - 1
    row: dict[str, Any] = {
        "shard": shard,
        "part": part,
        "documents": max(0, len(index) - 1),
        "tokens": count,
        "torn_bytes": torn,
        "largest_id": max((int(ids[at : at + chunk].max()) for at in range(0, ids.size, chunk)), default=0),
        "beyond_vocabulary": sum(int((ids[at : at + chunk] >= vocabulary).sum()) for at in range(0, ids.size, chunk)),
        "vocabulary_differs": int(file.vocab_size != vocabulary),
        "without_eos": max(0, len(index) - 1) - int((ids[ends] == file.eos_id).sum()),
        "empty_documents": int((np.diff(index) <= 0).sum()),
        "index_off_by": abs(int(index[-1]) - count) + abs(int(index[0])) if len(index) else count + 1,
        "meta_off_by": abs(int(meta["tokens"]) - count) + abs(int(meta["documents"]) - max(0, len(index) - 1)),
    }
    if any(row[name] for name in BROKEN):
        document = _first_wrong(ids, index, vocabulary, file.eos_id, chunk)
        row["shard"] = f"{shard} {part}{'' if document is None else f', document {document} of {TOKENS}'}"
    return row


def _first_wrong(ids: NDArray[Any], index: NDArray[Any], vocabulary: int, end: int, chunk: int) -> int | None:
    """The number of the first document that holds no token, one beyond the vocabulary, or another end than `end`."""
    import numpy as np

    starts = np.flatnonzero(np.diff(index) <= 0)[:1].tolist()
    within = index[1:][(index[1:] > 0) & (index[1:] <= ids.size)] - 1
    starts += np.flatnonzero(ids[within] != end)[:1].tolist()
    for at in range(0, ids.size, chunk):
        beyond = np.flatnonzero(ids[at : at + chunk] >= vocabulary)
        if len(beyond):
            starts.append(int(np.searchsorted(index, at + beyond[0], side="right")) - 1)
            break
    return min(starts, default=None)
