from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from conf.schema.clean import AdmitConf, SplitConf
from tasks.clean.split import part_of, split
from tasks.formats.documents import PARTS


def divided(folder: Path, licences: tuple[str, ...] | None = None) -> dict[str, Any]:
    """The parts of docs.parquet in a folder, written beside it."""
    conf = AdmitConf(licences=licences, split=SplitConf(test=0.1, valid=0.1))
    parts = {part: folder / part / "docs.parquet" for part in PARTS}
    return split(folder / "docs.parquet", parts.__getitem__, folder / "rejects.parquet", conf)


@given(st.text())
def test_the_part_of_a_text_is_decided_by_text_and_seed_alone(text: str) -> None:
    assert part_of(text, SplitConf(test=0.3, valid=0.3)) == part_of(text, SplitConf(test=0.3, valid=0.3))


def test_another_seed_holds_out_other_documents(docstrings) -> None:
    first, second = (
        {text for text in docstrings if part_of(text, SplitConf(test=0.2, seed=seed)) == "test"} for seed in (0, 1)
    )
    assert 0 < len(first & second) < len(first)


def test_the_shares_come_out_as_asked() -> None:
    parts = [part_of(f"document {n}", SplitConf(test=0.1, valid=0.2)) for n in range(20_000)]
    assert parts.count("test") / 20_000 == pytest.approx(0.1, abs=0.01)
    assert parts.count("valid") / 20_000 == pytest.approx(0.2, abs=0.01)


def test_a_larger_test_share_keeps_what_was_held_out(docstrings) -> None:
    small, large = SplitConf(test=0.05), SplitConf(test=0.2)
    assert all(part_of(text, large) == "test" for text in docstrings if part_of(text, small) == "test")


def test_every_document_lands_in_one_part_in_the_order_of_its_shard(tmp_path: Path, documents, docstrings) -> None:
    frame = documents(docstrings)
    frame.write_parquet(tmp_path / "docs.parquet")
    stats = divided(tmp_path)
    place = {id_: n for n, id_ in enumerate(frame["id"])}
    parts = {part: pl.read_parquet(tmp_path / part / "docs.parquet") for part in PARTS}
    assert sorted(id_ for part in parts.values() for id_ in part["id"]) == sorted(frame["id"])
    for name, part in parts.items():
        places = [place[id_] for id_ in part["id"]]
        assert places == sorted(places)
        assert stats["parts"][name]["documents_out"] == part.height > 0
        assert stats["parts"][name]["bytes_out"] == sum(len(text.encode()) for text in part["text"])
    assert pl.read_parquet(tmp_path / "rejects.parquet").height == 0 and "licences" not in stats


def test_what_is_not_allowed_leaves_every_part_and_is_kept_beside_with_its_licence(
    tmp_path: Path, documents, docstrings
) -> None:
    licence = pl.when(pl.int_range(pl.len()) % 3 == 0).then(pl.lit("GPL-3.0")).otherwise("licence")
    frame = documents(docstrings).with_columns(licence.alias("licence"))
    frame.write_parquet(tmp_path / "docs.parquet")
    whole = divided(tmp_path)["parts"]
    stats = divided(tmp_path, licences=("mit", "BSD*"))
    rejects = pl.read_parquet(tmp_path / "rejects.parquet")
    assert stats["licences"] == {"mit": frame.height - rejects.height, "BSD*": 0}
    assert set(rejects["id"]) == set(frame.filter(pl.col("licence") == "GPL-3.0")["id"])
    assert set(rejects.select("reason", "detail").iter_rows()) == {("licence", "GPL-3.0")}
    for part, counts in stats["parts"].items():
        left = pl.read_parquet(tmp_path / part / "docs.parquet")
        assert set(left["licence"]) == {"MIT"}
        assert counts["documents_in"] == whole[part]["documents_out"] == left.height + counts["reasons"]["licence"]
        assert rejects.filter(pl.col("part") == part).height == counts["reasons"]["licence"] > 0


def test_shares_that_leave_nothing_to_train_on_are_refused() -> None:
    with pytest.raises(ValidationError, match="nothing to train on"):
        SplitConf(test=0.6, valid=0.4)
