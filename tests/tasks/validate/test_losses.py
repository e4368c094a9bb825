"""Stages that drop too much are named with their reasons, and what is said to help does."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from conf.compose import compose
from conf.schema.rules import RulesConf
from conf.schema.validate import LossesConf
from tasks.core.artifact import Artifact
from tasks.core.errors import ConfigError, DataError
from tasks.core.plan.planner import Pending
from tasks.validate.losses import OPTIONS, judge, losses_of


def shard(name: str, documents: int, step: str = "clean_shard", **reasons: int) -> Artifact:
    """A shard of which so many documents were dropped for each reason."""
    parts = {
        "train": {"documents_in": documents, "documents_out": documents - sum(reasons.values()),
                  "bytes_in": 0, "bytes_out": 0, "reasons": reasons},
        "test": {"documents_in": 0, "documents_out": 0, "bytes_in": 0, "bytes_out": 0, "reasons": {}},
    }  # fmt: skip
    return Artifact(step, "k", "d", {"parts": parts}, name)


def warned(tmp_path: Path, *stages: list[Artifact], **options: Any) -> list[dict[str, str]]:
    return list(judge(losses_of(*stages), LossesConf(**options), tmp_path)["warnings"])


def test_a_loss_is_counted_over_all_shards_of_a_source_and_of_no_other(tmp_path: Path) -> None:
    shards = [shard("a-000", 50, short=30), shard("a-001", 50, short=9, long=1), shard("b-000", 100, short=30)]
    (one,) = warned(tmp_path, shards)
    assert one["text"] == "clean drops 40.0 % of source a (40 of 100 documents): short 39.0 %, long 1.0 %"
    found = {row["source"]: row for row in json.loads((tmp_path / "losses.json").read_bytes())}
    assert (found["a"]["dropped"], found["b"]["dropped"]) == (40, 30)


@pytest.mark.parametrize(
    ("dropped", "options", "fate"),
    [
        (30, {}, "passes"), (31, {}, "warns"), (80, {}, "warns"), (81, {}, "stops"), (100, {"fail": 1}, "warns"),
        (100, {"fail": 1, "warn": 1}, "passes"), (31, {"fail": 0.3}, "stops"), (11, {"warn": 0.1}, "warns"),
    ],
)  # fmt: skip
def test_more_than_the_configured_share_warns_or_stops(
    tmp_path: Path, dropped: int, options: dict[str, float], fate: str
) -> None:
    shards = [shard("a-000", 100, min_words=dropped), shard("b-000", 900)]
    if fate == "stops":
        with pytest.raises(DataError, match=r"clean drops .* of source a .*min_words"):
            warned(tmp_path, shards, **options)
    else:
        assert len(warned(tmp_path, shards, **options)) == (fate == "warns")


@pytest.mark.parametrize(
    ("step", "stage", "reason"),
    [
        ("split_shard", "admit", "licence"), ("clean_shard", "clean", "min_words"),
        ("filter_shard", "deduplicate", "near_duplicate"), ("decontaminate_shard", "decontaminate", "overlaps_evalset"),
    ],
)  # fmt: skip
def test_every_stage_that_drops_is_watched_and_what_lets_it_pass_does(
    tmp_path: Path, step: str, stage: str, reason: str
) -> None:
    shards = [shard("a-000", 99, step, **{reason: 90, "other": 3}), shard("b-000", 99, step)]
    with pytest.raises(DataError) as raised:
        warned(tmp_path, shards)
    said = str(raised.value)
    assert f"{stage} drops 93.9 % of source a" in said and f"{reason} 90.9 %" in said
    (option, value) = re.findall(r"data\.losses\.allow\.a\.(\w+)=([\d.]+)", said)[0]
    assert (option, float(value)) == (reason, 0.91)
    assert warned(tmp_path, shards, allow={"a": {option: float(value)}}) == []


def test_rows_that_collecting_sets_aside_are_watched_too(tmp_path: Path) -> None:
    fetched = Artifact("fetch_shard", "k", "d", {"rows": 60, "bytes": 9, "empty": 0, "repeated": 40}, "a-000")
    (one,) = warned(tmp_path, [fetched])
    assert one["text"] == "collect drops 40.0 % of source a (40 of 100 documents): repeated 40.0 %"


def test_an_allowance_lets_pass_what_it_says_and_no_more(tmp_path: Path) -> None:
    allow = {"a": {"near_duplicate": 0.57}}
    assert warned(tmp_path, [shard("a-000", 100, "filter_shard", near_duplicate=57)], allow=allow) == []
    assert warned(tmp_path, [shard("a-000", 100, "filter_shard", near_duplicate=57, exact=30)], allow=allow) == []
    assert len(warned(tmp_path, [shard("a-000", 100, "filter_shard", near_duplicate=58)], allow=allow)) == 1
    assert len(warned(tmp_path, [shard("a-000", 100, "filter_shard", near_duplicate=57, exact=31)], allow=allow)) == 1
    assert len(warned(tmp_path, [shard("b-000", 100, "filter_shard", near_duplicate=57)], allow=allow)) == 1


def test_what_is_said_to_end_a_warning_ends_it(tmp_path: Path) -> None:
    shards = [shard("a-000", 1000, min_words=250, language=130, other=7)]
    (one,) = warned(tmp_path, shards)
    allow = dict(re.findall(r"data\.losses\.allow\.a\.(\w+)=([\d.]+)", one["option"]))
    assert allow == {"min_words": "0.25"} and "data.clean.language" in one["option"]
    assert warned(tmp_path, shards, allow={"a": {name: float(value) for name, value in allow.items()}}) == []


def test_a_source_of_a_few_documents_warns_and_stops_a_run_only_together_with_the_others(tmp_path: Path) -> None:
    (one,) = warned(tmp_path, [shard("few-000", 3, min_words=3), shard("many-000", 300)])
    assert "source few (3 of 3 documents)" in one["text"]
    with pytest.raises(DataError, match="source few"):
        warned(tmp_path, [shard("few-000", 3, min_words=3)])
    with pytest.raises(DataError, match=r"all sources together \(18 of 20 documents\)"):
        warned(tmp_path, [shard(f"s{n}-000", 2, min_words=2 if n else 0) for n in range(10)])


def test_many_lossy_sources_are_named_in_few_lines(tmp_path: Path) -> None:
    found = warned(tmp_path, [shard(f"s{n:02d}-000", 100, min_words=31 + n) for n in range(20)])
    assert len(found) == 9 and found[0]["text"].startswith("clean drops 50.0 % of source s19")
    assert "12 further sources: s11" in found[-1]["text"]


def test_each_reason_of_a_rule_leads_to_its_option(tmp_path: Path) -> None:
    for name in ("min_words", "max_ellipsis_lines"):
        assert name in RulesConf.model_fields and name not in OPTIONS
        (one,) = warned(tmp_path, [shard("a-000", 100, **{name: 50})])
        assert one["option"].startswith(f"data.clean.rules.{name} (or data.clean.rules_by_source.a);")


def test_a_plan_waits_where_a_stage_is_not_made_yet() -> None:
    waits = Pending("clean_shard[a-001]", "a-001")
    assert losses_of([shard("a-000", 9)], [shard("a-000", 9), waits]) is waits


def test_allowances_are_options_of_a_command_line_and_of_known_sources_only() -> None:
    options = ("data.sources.mine.paths=[x]", "data.losses.allow.mine.near_duplicate=0.6")
    assert compose("text", options).data.losses.allow == {"mine": {"near_duplicate": 0.6}}
    with pytest.raises(ConfigError, match=r"losses\.allow names yours, which is no source here; there are: mine"):
        compose("text", (options[0], "data.losses.allow.yours.near_duplicate=0.6"))
    with pytest.raises(ValidationError, match="nothing is warned of"):
        LossesConf(warn=0.9)
