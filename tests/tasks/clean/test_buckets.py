from pathlib import Path

import polars as pl

from conf.schema.clean import DedupConf
from tasks.clean.buckets import join
from tasks.clean.load_signatures import REPEATED, take_in
from tasks.clean.signatures import schema

CONF = DedupConf(bands=2, rows=2, threshold=0.7)


def joined(folder: Path, rows: dict[str, tuple[str, list[int]]]) -> tuple[list[int], list[bool]]:
    """Of rows {first digit of the id: (exact hash, minhash)}: the cluster of each, and whether it repeats another."""
    ids = [digit.ljust(32, "0") for digit in rows]
    exact = [digits.ljust(32, "0") for digits, _ in rows.values()]
    frame = {"id": ids, "part": "train", "exact": exact, "minhash": [minhash for _, minhash in rows.values()]}
    pl.DataFrame(frame, schema=schema(CONF)).write_parquet(folder / "a.parquet")
    (folder / "scratch").mkdir()
    documents, _ = take_in({"a": folder / "a.parquet"}, None, folder / "scratch", CONF)
    roots = join(documents, CONF).flatten()
    return roots.tolist(), (documents.flags & REPEATED > 0).tolist()


def test_documents_that_share_a_band_are_joined_if_enough_of_their_signatures_agrees(tmp_path: Path) -> None:
    rows = {"1": ("a", [1, 2, 3, 4]), "2": ("b", [1, 2, 3, 9]), "3": ("c", [1, 2, 8, 8]), "4": ("d", [7, 2, 3, 4])}
    assert joined(tmp_path, rows)[0] == [0, 0, 2, 0]


def test_documents_without_a_whole_band_in_common_are_not_compared(tmp_path: Path) -> None:
    rows = {"1": ("a", [1, 2, 3, 4]), "2": ("b", [1, 9, 3, 9])}
    assert joined(tmp_path, rows)[0] == [0, 1]


def test_exact_duplicates_are_joined_whatever_their_signatures_and_the_smallest_id_stands_for_them(
    tmp_path: Path,
) -> None:
    rows = {"1": ("a", [1, 2, 3, 4]), "2": ("a", [5, 6, 7, 8]), "3": ("b", [5, 6, 7, 8])}
    roots, repeated = joined(tmp_path, rows)
    assert repeated == [False, True, False]
    assert roots == [0, 0, 2], "what repeats another is not compared itself"
