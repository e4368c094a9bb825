from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap

from conf.schema.evaluate import GateConf
from tasks.core.errors import ArtifactError
from tasks.evaluate import decision
from tasks.evaluate.compare import Comparison, paired_bootstrap
from tasks.models.kind import kinds

FAST = {"resamples": 200}
METRICS = {name: metric for kind in kinds().values() for name, metric in kind.metrics().items()}
METRIC = st.sampled_from(sorted(METRICS))


def decide(candidate: pl.DataFrame, champion: pl.DataFrame | None, conf: GateConf) -> dict[str, Any]:
    """The gate's decision on items, by the metric that the options name."""
    return decision.decide(candidate, champion, conf, METRICS[conf.metric])


def items(seed: int, skill: float = 0.6, count: int = 60) -> pl.DataFrame:
    """Items of a model that is right with probability `skill`; the items themselves are the same for every seed."""
    rng, fixed = np.random.default_rng(seed), np.random.default_rng(99)
    label = fixed.choice(["a", "b", "c"], size=count)
    size = fixed.integers(20, 2000, size=count)
    correct = rng.random(count) < skill
    predicted = np.where(correct, label, np.where(label == "a", "b", "a"))
    nats = size * rng.uniform(0.5, 1.5, size=count) * (1.6 - skill)
    columns = {"bytes": size, "label": label, "predicted": predicted, "nats": nats, "correct": correct}
    spans = fixed.integers(1, 4, size=count)
    more = {
        "error": nats / size,
        "margin": correct - nats / size,
        "true": spans,
        "said": spans,
        "hits": spans * correct,
    }
    lists = {
        "chrf": [[2, 2, n] * 6 for n in 2 * correct],
        "bleu": [[4, 4, *[n] * 4, *[4] * 4] for n in 1 + 3 * correct],
    }
    more |= {**lists, "rouge_l": correct * 0.5}
    return pl.DataFrame({"id": [f"{n:03}" for n in range(count)], **columns, **more})


def compare(a: pl.DataFrame, b: pl.DataFrame, metric: str) -> Comparison:
    return paired_bootstrap(a, b, METRICS[metric], seed=0, resamples=200, confidence=0.95)


@given(METRIC, st.integers(0, 100))
@settings(max_examples=40, deadline=None)
def test_a_model_is_never_superior_to_itself_and_always_non_inferior(metric: str, seed: int) -> None:
    table = items(seed)
    assert not decide(table, table, GateConf(metric=metric, rule="superior", **FAST))["accepted"]
    same = decide(table, table.sample(fraction=1, shuffle=True, seed=1), GateConf(metric=metric, rule="non_inferior"))
    assert same["accepted"] and same["interval"] == [0, 0] and same["p"] == 1


@given(METRIC, st.integers(0, 100), st.integers(101, 200))
@settings(max_examples=40, deadline=None)
def test_swapping_the_two_models_turns_gain_and_interval_round(metric: str, one: int, other: int) -> None:
    forth, back = compare(items(one), items(other), metric), compare(items(other), items(one), metric)
    assert forth.gain == pytest.approx(-back.gain, abs=1e-12)
    assert (forth.low, forth.high) == pytest.approx((-back.high, -back.low), abs=1e-12)
    assert forth.p + back.p >= 1


@given(METRIC, st.integers(0, 100))
@settings(max_examples=30, deadline=None)
def test_never_are_both_of_two_models_superior(metric: str, seed: int) -> None:
    a, b, conf = items(seed), items(seed + 1000, skill=0.7), GateConf(metric=metric, **FAST)
    assert not (decide(a, b, conf)["accepted"] and decide(b, a, conf)["accepted"])


@given(st.sampled_from(["bits_per_byte", "nats"]), st.integers(0, 100), st.floats(0.5, 0.99))
@settings(max_examples=30, deadline=None)
def test_a_model_that_is_better_on_every_item_is_accepted(metric: str, seed: int, factor: float) -> None:
    worse = items(seed)
    better = worse.with_columns(pl.col("nats") * factor)
    found = decide(better, worse, GateConf(metric=metric, rule="superior", **FAST))
    assert found["accepted"] and found["interval"][0] > 0 and found["p"] < 0.01
    assert found["interval"][0] <= found["difference"] <= found["interval"][1]
    assert not decide(worse, better, GateConf(metric=metric, rule="non_inferior", **FAST))["accepted"]


@given(METRIC, st.integers(0, 100), st.floats(0, 0.3))
@settings(max_examples=30, deadline=None)
def test_whatever_is_superior_is_non_inferior_and_a_wider_margin_refuses_nothing_more(
    metric: str, seed: int, margin: float
) -> None:
    a, b = items(seed, skill=0.65), items(seed + 500)
    superior, tight, wide = (
        decide(a, b, GateConf(metric=metric, rule=rule, margin=m, **FAST))["accepted"]
        for rule, m in (("superior", 0.0), ("non_inferior", margin), ("non_inferior", margin + 0.1))
    )
    assert superior <= tight <= wide


def test_noise_alone_is_called_superior_about_as_often_as_the_confidence_allows() -> None:
    conf = GateConf(metric="accuracy", rule="superior", **FAST)
    accepted = sum(decide(items(2 * n), items(2 * n + 1), conf)["accepted"] for n in range(200))
    assert accepted <= 0.06 * 200


def test_pairing_sees_a_small_gain_that_two_separate_intervals_would_not() -> None:
    worse = items(0)
    better = worse.with_columns(pl.col("nats") * 0.99)
    found = compare(better, worse, "bits_per_byte")
    assert found.low > 0 and found.high - found.low < found.champion * 0.01


def test_the_first_candidate_is_accepted_because_there_is_no_champion() -> None:
    found = decide(items(0), None, GateConf())
    assert found["accepted"] and found["first"] and "no champion" in found["reasons"][0]


@pytest.mark.parametrize("other", [items(1, count=59), items(1).with_columns(pl.col("bytes") + 1)])
def test_different_evaluation_sets_are_not_compared(other: pl.DataFrame) -> None:
    with pytest.raises(ArtifactError, match="different items"):
        decide(items(0), other, GateConf())


def test_items_without_what_the_metric_needs_are_named() -> None:
    with pytest.raises(ArtifactError, match=r"champion's items have no \['nats'\]"):
        decide(items(0), items(1).drop("nats"), GateConf())


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("count", [1, 7, 20])
def test_too_few_items_are_refused_however_good_the_candidate_and_though_it_is_the_first(
    count: int, first: bool
) -> None:
    worse = items(0, count=count)
    better = worse.with_columns(pl.col("nats") / 2)
    found = decide(better, None if first else worse, GateConf(min_items=21))
    assert not found["accepted"] and "min_items is 21" in found["reasons"][-1]
    assert f"too few items ({count}" in found["verdict"]
    assert decide(better, None if first else worse, GateConf(min_items=count))["items"] == count


def with_baseline(model: pl.DataFrame, baseline: pl.DataFrame) -> pl.DataFrame:
    """The model's items, those of a baseline beside them."""
    names = ["predicted", "nats", "correct"]
    return model.with_columns(baseline[name].alias(f"naive_bayes_{name}") for name in names)


def floor(metric: str, **more: Any) -> GateConf:
    return GateConf(metric=metric, floors=("naive_bayes",), resamples=500, **more)


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "nats", "bits_per_byte"])
def test_the_first_model_is_refused_unless_it_beats_its_baseline(metric: str) -> None:
    good, bad = items(1, skill=0.95, count=200), items(2, skill=0.4, count=200)
    worse = decide(with_baseline(bad, good), None, floor(metric))
    assert not worse["accepted"] and worse["verdict"].startswith("does not beat naive Bayes (")
    assert worse["floors"][0]["interval"][1] < 0 and not worse["floors"][0]["holds"]
    better = decide(with_baseline(good, bad), None, floor(metric))
    assert better["accepted"] and better["first"] and "beats naive Bayes" in better["verdict"]


@pytest.mark.parametrize("metric", ["accuracy", "nats"])
def test_a_model_as_good_as_its_baseline_is_refused_whatever_it_wins_against_the_champion(metric: str) -> None:
    good, bad = items(1, skill=0.9, count=200), items(2, skill=0.3, count=200)
    found = decide(with_baseline(good, good), bad, floor(metric))
    assert not found["accepted"] and found["interval"][0] > 0 and found["floors"][0]["difference"] == 0
    assert found["verdict"].startswith("does not beat naive Bayes") and "champion" not in found["verdict"]


def test_a_floor_that_was_not_measured_is_an_error_and_none_is_asked_for_by_an_empty_list() -> None:
    with pytest.raises(ArtifactError, match="has not measured naive_bayes"):
        decide(items(0), None, floor("accuracy"))
    assert decide(items(0), None, GateConf(metric="accuracy", floors=()))["floors"] == []


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_difference_and_interval_are_those_of_an_independent_paired_bootstrap(seed: int) -> None:
    ours, theirs = items(seed, skill=0.7, count=150), items(seed + 50, skill=0.6, count=150)
    found = decide(ours, theirs, GateConf(metric="accuracy", resamples=4000))
    pair = [table["correct"].to_numpy().astype(float) for table in (ours, theirs)]
    independent = bootstrap(pair, lambda a, b, axis: (a - b).mean(axis), paired=True, n_resamples=4000,
                      method="percentile", rng=np.random.default_rng(7))  # fmt: skip
    assert found["difference"] == pytest.approx(pair[0].mean() - pair[1].mean())
    assert found["interval"] == pytest.approx(list(independent.confidence_interval), abs=0.015)
