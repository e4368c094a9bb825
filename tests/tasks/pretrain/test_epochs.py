"""How often training reads its data over is told before it begins."""

from __future__ import annotations

from typing import Any

import pytest

from conf.compose import compose
from conf.schema.pretrain import PretrainConf
from tasks.core.artifact import Artifact
from tasks.core.plan.planner import Pending
from tasks.pretrain.epochs import warn_of_repeats


def shard(name: str, tokens: int) -> Artifact:
    return Artifact("tokenize_shard", "k", "d", {"parts": {"train": {"tokens": tokens}, "valid": {"tokens": 7}}}, name)


AGAIN = Artifact("repeat_shard", "k", "d", {"tokens": 5000, "once": {"tokens": 1000}}, "a-000", "twice")
SEGMENT = {"tokens": 10240, "batch_tokens": 512, "seq_len": 64}


def chain(*segments: dict[str, Any], **run: Any) -> list[PretrainConf]:
    """The configs of a chain of segments named one, two, …"""
    recipe = compose("text", ("data.sources.mine.paths=[x]",))
    named = dict(zip(("one", "two"), ({**SEGMENT, **one} for one in segments), strict=False))
    pretrain = type(recipe.pretrain).model_validate({"segments": named, "run": run})
    return pretrain.chain(recipe.model)


def said(conf: PretrainConf, *tokens: Any) -> list[str]:
    return [one["text"] for one in warn_of_repeats(tokens, None, None, conf)]


def test_more_epochs_than_the_limit_are_warned_of_with_their_number_and_the_options() -> None:
    (conf,) = chain({})
    tokens = (shard("a-000", 1000), shard("a-001", 500), shard("b-000", 500), AGAIN)
    (one,) = warn_of_repeats(tokens, None, None, conf)
    assert one["text"] == (
        "segment one reads the training data 5.1 times over: 10,240 tokens, of which 2,000 are distinct; more than 4 "
        "times"
    )
    assert "pretrain.segments.one.tokens" in one["option"] and "pretrain.run.max_epochs" in one["option"]


@pytest.mark.parametrize(("tokens", "limit", "warns"), [(2560, 4, 0), (2559, 4, 1), (9, None, 0), (1000, 11, 0)])
def test_the_limit_is_an_option_that_makes_nothing_anew(tokens: int, limit: float | None, warns: int) -> None:
    (conf,), (usual,) = chain({}, max_epochs=limit), chain({})
    assert len(said(conf, shard("a-000", tokens))) == warns
    assert conf.for_key() == usual.for_key()


def test_each_source_of_a_mixture_is_counted_by_itself() -> None:
    (conf,) = chain({"mixture": {"a": 3, "b": 1}})
    found = said(conf, shard("a-000", 9000), shard("b-000", 100), shard("c-000", 10))
    assert [text.partition(":")[0] for text in found] == ["segment one reads source b 25.6 times over"]


def test_readings_that_are_asked_for_are_counted() -> None:
    (conf,) = chain({"epochs": {"a": 1, "b": 8}})
    found = said(conf, shard("a-000", 2240), shard("b-000", 1000))
    assert [text.partition(":")[0] for text in found] == ["segment one reads source b 8.0 times over"]


def test_what_earlier_segments_read_counts_and_is_in_no_key() -> None:
    first, second = chain({}, {})
    assert said(first, shard("a-000", 3000)) == []
    (text,) = said(second, shard("a-000", 3000))
    assert text.startswith("segment two with the segments before it reads the training data 6.8 times over")
    assert "earlier" not in second.for_key()


def test_nothing_is_said_of_tokens_that_are_not_there_yet() -> None:
    (conf,) = chain({})
    assert said(conf, shard("a-000", 10), Pending("tokenize_shard[b-000]")) == []
    assert said(conf, shard("a-000", 0)) == [] and said(conf) == []
