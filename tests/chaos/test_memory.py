"""The soak of the memory, on a few documents: that it still goes through every step."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from tests.chaos import soak_memory


def test_every_document_of_the_memory_soak_is_trained_on_held_out_or_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = [f"word{n}" for n in range(200)]
    (tmp_path / "texts.json").write_text(json.dumps([" ".join(words[n : n + 20]) for n in range(180)]))
    monkeypatch.setattr(soak_memory, "SHARD", 60)
    folder, count = tmp_path / "few", 180
    stats = {}
    for stage in soak_memory.STAGES:
        groups = [range(3)] if stage in soak_memory.OVER_ALL else [range(0, 3, 2), range(1, 3, 2)]
        for shards in groups:
            stats[stage] = soak_memory.carry_out(stage, folder, shards, count)
    kept = sum(pl.read_parquet(path).height for path in folder.glob("filter-*/content/*/docs.parquet"))
    assert stats["cluster"]["documents"] == count
    assert 0 < stats["cluster"]["dropped"] == count - kept
    assert stats["contract"]["rows"] == kept - sum(
        pl.read_parquet(path).height for path in folder.glob("filter-*/content/test/docs.parquet")
    )
