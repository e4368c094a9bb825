from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from conf.schema.clean import SplitConf
from tasks.clean.documents import PARTS
from tasks.clean.split import part_of, split


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
    conf = SplitConf(test=0.1, valid=0.1)
    stats = split(tmp_path / "docs.parquet", lambda part: tmp_path / part / "docs.parquet", conf)
    place = {id_: n for n, id_ in enumerate(frame["id"])}
    parts = {part: pl.read_parquet(tmp_path / part / "docs.parquet") for part in PARTS}
    assert sorted(id_ for part in parts.values() for id_ in part["id"]) == sorted(frame["id"])
    for name, part in parts.items():
        places = [place[id_] for id_ in part["id"]]
        assert places == sorted(places)
        assert stats["parts"][name]["documents"] == part.height > 0
        assert stats["parts"][name]["bytes"] == sum(len(text.encode()) for text in part["text"])


def test_shares_that_leave_nothing_to_train_on_are_refused() -> None:
    with pytest.raises(ValidationError, match="nothing to train on"):
        SplitConf(test=0.6, valid=0.4)
