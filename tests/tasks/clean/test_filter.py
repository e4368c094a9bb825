from pathlib import Path

import polars as pl

from tasks.clean.clusters import DROPS
from tasks.clean.filter import apply_drops
from tasks.formats.documents import PARTS


def test_listed_documents_go_and_say_for_which_one(tmp_path: Path, documents) -> None:
    texts = {"train": ["one", "two", "three"], "valid": ["four"], "test": []}
    frames = {part: documents(these) for part, these in texts.items()}
    for part, frame in frames.items():
        (tmp_path / part).mkdir()
        frame.write_parquet(tmp_path / part / "docs.parquet")
    two, four = frames["train"]["id"][1], frames["valid"]["id"][0]
    drops = [(two, "kept1", "near_duplicate"), (four, "kept2", "exact_duplicate")]
    pl.DataFrame(drops, schema=DROPS, orient="row").write_parquet(tmp_path / "drop.parquet")
    stats = apply_drops(
        lambda part: tmp_path / part / "docs.parquet",
        tmp_path / "drop.parquet",
        lambda part: tmp_path / "out" / part / "docs.parquet",
        tmp_path / "rejects.parquet",
    )
    out = {part: pl.read_parquet(tmp_path / "out" / part / "docs.parquet") for part in PARTS}
    assert out["train"].equals(frames["train"][[0, 2]])
    assert out["valid"].is_empty() and out["test"].is_empty()
    rejects = pl.read_parquet(tmp_path / "rejects.parquet")
    assert rejects.select("id", "part", "reason", "detail", "text").rows() == [
        (two, "train", "near_duplicate", "kept: kept1", "two"),
        (four, "valid", "exact_duplicate", "kept: kept2", "four"),
    ]
    assert stats["parts"]["train"]["documents_out"] == 2
    assert stats["parts"]["train"]["reasons"] == {"near_duplicate": 1}
    assert stats["parts"]["test"]["documents_in"] == 0
