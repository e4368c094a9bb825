"""One dial: what a native model's depth sets, and what is given itself."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from conf.compose import compose
from conf.scaling import numbers
from conf.schema.model import NativeConf
from conf.schema.pretrain import SegmentConf
from conf.schema.recipe import Recipe
from tasks.core.errors import ConfigError

MINE = "data.sources.mine.paths=[README.md]"
ALL = {"tokens", "batch_tokens", "peak_lr"}


def depth(number: int, *more: str) -> Recipe:
    return compose("depth", (MINE, f"model.depth={number}", *more))


def scaled(width: int, parameters: int, auto: set[str] = ALL, **given: float) -> dict[str, float]:
    segment = SegmentConf.model_validate({"tokens": 1, "batch_tokens": 512, "seq_len": 512, **given})
    return numbers(segment, auto, width, parameters)


def test_the_reference_gets_the_numbers_that_it_was_trained_with() -> None:
    found = scaled(768, 125_000_000)
    assert (found["tokens"], found["batch_tokens"]) == (2_500_000_000, 2**18)
    assert found["peak_lr"] == pytest.approx(1.5e-3)
    steps = found["tokens"] / found["batch_tokens"]
    assert 1 / (found["weight_decay"] * found["peak_lr"] * steps) == pytest.approx(0.25, rel=0.01)


def test_a_deeper_model_is_wider_reads_more_in_larger_batches_and_learns_slower() -> None:
    small, large = (depth(number) for number in (4, 12))
    assert isinstance(small.model, NativeConf) and isinstance(large.model, NativeConf)
    assert (small.model.width, large.model.width) == (256, 768)
    one, other = (recipe.pretrain.segments["main"] for recipe in (small, large))
    assert 10 * one.tokens < other.tokens
    assert one.batch_tokens < other.batch_tokens
    assert one.peak_lr > other.peak_lr
    assert small.pretrain.optimizer.weight_decay > large.pretrain.optimizer.weight_decay


def test_twice_the_width_is_half_the_rate_times_root_two_and_a_quarter_of_the_batch_half_the_rate() -> None:
    given = {"auto": {"peak_lr"}, "tokens": 2.5e9, "batch_tokens": 2**18}
    narrow, wide = (scaled(width, 10**8, **given) for width in (768, 1536))
    assert wide["peak_lr"] == pytest.approx(narrow["peak_lr"] / math.sqrt(2), rel=0.01)
    slow = scaled(768, 10**8, **{**given, "batch_tokens": 2**16})
    assert slow["peak_lr"] == pytest.approx(narrow["peak_lr"] / 2, rel=0.01)


def test_a_short_run_still_has_steps() -> None:
    found = scaled(256, 10_000_000, {"batch_tokens", "peak_lr"}, tokens=2_000_000)
    assert 700 < found["tokens"] / found["batch_tokens"] < 1500


def test_what_is_given_stays_and_the_rest_follows_from_it() -> None:
    recipe = depth(4, "pretrain.segments.main.tokens=20_000_000", "pretrain.optimizer.weight_decay=0.2")
    segment = recipe.pretrain.segments["main"]
    assert (segment.tokens, recipe.pretrain.optimizer.weight_decay) == (20_000_000, 0.2)
    assert segment.batch_tokens < depth(4).pretrain.segments["main"].batch_tokens
    assert depth(4, "model.width=512").pretrain.segments["main"].peak_lr < depth(4).pretrain.segments["main"].peak_lr


def test_each_segment_has_numbers_of_its_own_and_the_first_decides_on_the_weight_decay(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    text = "extends: depth\ndata: {sources: {mine: {kind: files, paths: [a]}}}\npretrain: {segments: {next: "
    path.write_text(text + "{tokens: 1_000_000, batch_tokens: auto, seq_len: 512}}}\n")
    recipe = compose(str(path))
    first, second = recipe.pretrain.segments["main"], recipe.pretrain.segments["next"]
    assert first.batch_tokens > second.batch_tokens
    assert recipe.pretrain.optimizer.weight_decay == depth(4).pretrain.optimizer.weight_decay


def test_an_optimizer_that_the_rules_are_not_for_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"tokens=auto: .* not those of pretrain\.optimizer\.kind=sgd"):
        depth(2, "pretrain.optimizer.kind=sgd")


def test_the_key_sees_numbers_and_no_auto() -> None:
    recipe = depth(2)
    (conf,) = recipe.pretrain.chain(recipe.model)
    seen = conf.for_key()
    assert seen["model"]["width"] == 128
    assert isinstance(seen["segment"]["tokens"], int) and isinstance(seen["optimizer"]["weight_decay"], float)
    assert Recipe.model_validate(recipe.model_dump()) == recipe
