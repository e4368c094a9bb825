from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from conf.paths import has_option
from conf.schema.clean import EvalsetConf
from tasks.clean.emptied import OPTIONS, held_out, why_none
from tasks.clean.evalset import freeze
from tasks.core.errors import DataError
from tasks.core.plan.planner import Pending


def shard(step: str, into: int, out: int, **reasons: int) -> Any:
    test = {"documents_in": into, "documents_out": out, "reasons": reasons}
    train = {"documents_in": 900, "documents_out": 900, "reasons": {"max_words": 500}}
    return SimpleNamespace(step=step, stats={"parts": {"train": train, "test": test}})


def test_the_stage_that_drops_the_last_held_out_document_is_named_with_its_rules_and_the_option_of_the_first() -> None:
    split = [shard("split_shard", 3, 3), shard("split_shard", 9, 9)]
    cleaned = [shard("clean_shard", 3, 0, min_words=3), shard("clean_shard", 9, 0, min_words=7, language=2)]
    filtered = [shard("filter_shard", 0, 0)] * 2
    said = why_none(held_out(split, cleaned, filtered))
    assert said.startswith("clean drops 12 of 12 documents that were held out: min_words 10, language 2.")
    assert "Loosen data.clean.rules.min_words (null turns the rule off)" in said and "split.test" not in said


@pytest.mark.parametrize(
    ("stage", "reason", "option"),
    [
        ("split_shard", "licence", "data.licences"),
        ("clean_shard", "language", "data.clean.language"),
        ("clean_shard", "max_hash_ratio", "data.clean.rules.max_hash_ratio"),
        ("filter_shard", "near_duplicate", "data.dedup.threshold"),
        ("split_shard", "quarantine", "data.validation.quarantine"),
    ],
)
def test_each_reason_of_a_loss_is_given_the_option_that_decides_about_it(stage: str, reason: str, option: str) -> None:
    assert f"Loosen {option}" in why_none(held_out([shard(stage, 4, 0, **{reason: 4})]))
    assert has_option(option)


def test_a_bigger_share_is_advised_only_where_none_was_held_out(tmp_path) -> None:
    way = held_out([shard("split_shard", 0, 0)], [shard("clean_shard", 0, 0)], [shard("filter_shard", 0, 0)])
    with pytest.raises(DataError, match=r"none was drawn: raise data\.split\.test"):
        freeze([], tmp_path / "out.parquet", EvalsetConf(), way)
    assert all(has_option(option) for option in OPTIONS.values())


def test_a_plan_waits_for_what_was_held_out() -> None:
    pending = Pending("clean_shard")
    assert held_out([shard("split_shard", 3, 3)], [pending]) is pending
