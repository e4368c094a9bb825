"""What becomes of the documents on their way is counted once, and adds up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tasks.corpus.funnel import again, anew, by_source, funnel, sentence, set_aside, unmatched, without

PARTS = ("train", "valid", "test")


@st.composite
def runs(draw: st.DrawFn) -> dict[str, list[dict[str, Any]]]:
    """The statistics of every step as their stages write them, for some shards."""
    some = st.integers(0, 50)
    found: dict[str, list[dict[str, Any]]] = {}
    for _ in range(draw(st.integers(1, 3))):
        rows = {part: draw(some) for part in PARTS}
        fetched = {"rows": sum(rows.values()), "bytes": 10 * sum(rows.values())}
        found.setdefault("fetch_shard", []).append(
            {**fetched, **{name: draw(some) for name in ("repeated", "empty", "unreadable")}}
        )
        for step in ("split_shard", "clean_shard", "filter_shard", "decontaminate_shard"):
            if step == "decontaminate_shard":
                del rows["test"]
            parts = {}
            for part, into in rows.items():
                rows[part] = out = draw(st.integers(0, into))
                first = draw(st.integers(0, into - out))
                parts[part] = {
                    "documents_in": into, "documents_out": out, "bytes_in": 10 * into, "bytes_out": 10 * out,
                    "reasons": {"short": first, "long": into - out - first},
                }  # fmt: skip
            found.setdefault(step, []).append({"parts": parts})
    return found


@given(runs())
def test_every_document_comes_out_is_dropped_for_a_reason_or_is_held_out(
    stats: Mapping[str, Sequence[Mapping[str, Any]]],
) -> None:
    stages = funnel(stats.__getitem__)
    refused = any(sum(part["reasons"].values()) for one in stats["split_shard"] for part in one["parts"].values())
    names = ["collect", *(["admit"] if refused else []), "clean", "deduplicate", "hold out", "decontaminate"]
    assert [stage.name for stage in stages] == names
    for stage in stages:
        assert stage.documents_in == stage.documents_out + stage.dropped + stage.held_out
    for one, following in pairwise(stages):
        assert (one.documents_out, one.bytes_out) == (following.documents_in, following.bytes_in)
    whole = stages[0].documents_in
    assert whole == stages[-1].documents_out + sum(stage.dropped + stage.held_out for stage in stages)
    held = sum(shard["parts"]["test"]["documents_out"] for shard in stats["filter_shard"])
    assert sum(stage.held_out for stage in stages) == held
    assert f" {held:,} held out" in sentence(stages) and sentence(stages).startswith(f"Of {whole:,} documents ")


def test_reasons_of_all_shards_are_added_up_the_most_frequent_first_and_those_of_nothing_left_out() -> None:
    part = {"documents_in": 9, "documents_out": 4, "bytes_in": 90, "bytes_out": 40}
    one = {"parts": {"train": {**part, "reasons": {"short": 2, "long": 3, "odd": 0}}}}
    two = {"parts": {"train": {**part, "reasons": {"short": 5}}}}
    (stage,) = funnel(lambda step: [one, two] if step == "clean_shard" else [])
    assert list(stage.reasons.items()) == [("short", 7), ("long", 3)]


def test_stages_whose_artifacts_are_gone_are_left_out() -> None:
    stages = funnel(lambda step: [{"rows": 3, "bytes": 9}] if step == "fetch_shard" else [])
    assert [(stage.name, stage.documents_in, stage.documents_out) for stage in stages] == [("collect", 3, 3)]
    assert sentence([]) == ""


def test_an_allowed_licence_is_unmatched_if_no_shard_has_it() -> None:
    shards = [{"licences": {"MIT": 3, "Apach*": 0}}, {"licences": {"MIT": 0, "BSD*": 0}}, {"licences": {"BSD*": 1}}, {}]
    assert unmatched(shards) == ["Apach*"]


def test_what_was_set_aside_is_counted_over_shards_and_said_in_a_sentence() -> None:
    quarantined = {"a": {"documents": 1200, "failed": ["x"]}, "b": {"documents": 1, "failed": ["y"]}}
    aside = set_aside([{"expectations": 3}, {"quarantined": quarantined}])
    assert without(aside) == "2 shards with 1,201 documents set aside by validation: a, b."
    assert without(set_aside([{}])) == ""


def test_what_deduplicating_all_anew_would_change_is_said_only_if_it_is_something() -> None:
    assert anew([]) == anew([{"documents": 4}]) == anew([{"recomputed": {"dropped": 0, "accepted": 0}}]) == ""
    said = anew([{"recomputed": {"dropped": 1, "accepted": 1200}}])
    assert "--refresh cluster" in said
    assert "drop 1 document that earlier intakes accepted and accept 1,200 in their place" in said


def test_what_upsampling_adds_is_counted_over_all_shards_and_said_only_where_it_was_asked_for() -> None:
    assert again([]) == again([{}]) == ""
    once = {"documents": 100, "tokens": 10_000}
    none: dict[str, Any] = {"documents": 0, "tokens": 0, "bytes": 0, "repeated": 0, "times": {}, "once": once}
    some = none | {"documents": 9, "tokens": 1_500, "repeated": 4, "times": {"2": 2, "11": 2}}
    assert again([none]).startswith("No training document is seen more than once")
    said = again([some, none, some | {"times": {"3": 4}}])
    assert said.startswith("8 training documents seen more than once, ") and " 11 times at most: " in said
    assert said.endswith(": 3,000 tokens beside 30,000 (10.0 % more).")


@given(runs())
def test_what_stages_do_with_single_sources_adds_up_to_what_they_do(
    stats: Mapping[str, Sequence[Mapping[str, Any]]],
) -> None:
    whole = {stage.name: stage for stage in funnel(stats.__getitem__)}
    for step, name in (("fetch_shard", "collect"), ("clean_shard", "clean"), ("filter_shard", "deduplicate")):
        shards = [(f"source-{n % 2}-{n:03d}", one) for n, one in enumerate(stats[step])]
        found = by_source(step, shards)
        assert list(found) == [f"source-{n}" for n in range(min(2, len(shards)))]
        for field in ("documents_in", "documents_out", "dropped", "bytes_out"):
            assert sum(getattr(stage, field) for stage in found.values()) == getattr(whole[name], field)
