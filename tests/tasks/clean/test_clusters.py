import random
from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conf.schema.clean import DedupConf
from tasks.clean.clusters import Outcome, State, components, find_duplicates
from tasks.clean.signatures import schema, sign
from tests.tasks.clean.test_signatures import changed, jaccard

CONF = DedupConf()
Row = tuple[str, str, str]
"""id, part, text"""

BASES = [[f"{name}{n}" for n in range(60)] for name in ("ab", "cd", "ef")]


def variant(base: int, version: int) -> str:
    """Version 0 is the text, 1 the same with other spaces, 2 and 3 near duplicates, 4 and more different."""
    words = list(BASES[base])
    if version == 1:
        return "  ".join(words)
    if version >= 4:
        return " ".join(f"{word}-{version}" for word in words)
    for place in range(1, version):
        words[-place] = f"edit{place}"
    return " ".join(words)


def signed(shards: dict[str, Sequence[Row]], conf: DedupConf = CONF) -> pl.DataFrame:
    frames = [
        sign(pl.DataFrame({"id": [id_], "text": [text]}), part, conf).with_columns(pl.lit(shard).alias("shard"))
        for shard, rows in shards.items()
        for id_, part, text in rows
    ]
    return pl.concat([schema(conf).to_frame().with_columns(pl.lit(None, pl.String).alias("shard")), *frames])


def decide(rows: Sequence[Row], previous: State | None = None, shards: int = 1) -> Outcome:
    split = {f"s-{n:03d}": rows[n::shards] for n in range(shards)}
    return find_duplicates(signed(split), previous or State.empty(), CONF)


def state(outcome: Outcome) -> State:
    return State(outcome.accepted, outcome.drops.drop("shard"), outcome.sizes.drop("shard"))


def kept(outcome: Outcome) -> set[str]:
    return set(outcome.accepted["id"])


ROWS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 5), st.sampled_from(["train", "valid", "test"])),
    max_size=14,
    unique_by=lambda row: row[:2],
).flatmap(
    lambda picks: st.permutations([f"{n:02d}" for n in range(len(picks))]).map(
        lambda ids: [(ids[n], part, variant(base, version)) for n, (base, version, part) in enumerate(picks)]
    )
)


@given(rows=ROWS, data=st.data())
def test_the_outcome_of_one_intake_does_not_depend_on_order_or_shard_size(rows: list[Row], data) -> None:
    one = decide(rows)
    shuffled = data.draw(st.permutations(rows))
    other = decide(shuffled, shards=data.draw(st.integers(1, 5)))
    assert kept(one) == kept(other)
    assert one.drops.drop("shard").sort("id").equals(other.drops.drop("shard").sort("id"))


@given(rows=ROWS, cut=st.integers(0, 14))
def test_an_accepted_document_is_never_evicted_and_drops_stay_as_they_were(rows: list[Row], cut: int) -> None:
    old, new = {"s-000": rows[:cut]}, {"s-000": rows[:cut], "s-001": rows[cut:]}
    first = find_duplicates(signed(old), State.empty(), CONF)
    second = find_duplicates(signed(new), state(first), CONF)
    assert kept(first) <= kept(second)
    assert second.drops.filter(pl.col("shard") == "s-000").equals(first.drops)


@given(rows=ROWS, cut=st.integers(0, 14))
def test_nothing_new_changes_nothing(rows: list[Row], cut: int) -> None:
    first = find_duplicates(signed({"s-000": rows[:cut]}), State.empty(), CONF)
    second = decide(rows, state(first), shards=2)
    third = decide(rows, state(second), shards=2)
    assert third.drops.equals(second.drops) and third.accepted.equals(second.accepted)


@given(rows=ROWS)
def test_every_document_is_accepted_or_dropped_for_one_that_stays(rows: list[Row]) -> None:
    outcome = decide(rows)
    dropped = set(outcome.drops["id"])
    assert kept(outcome) | dropped == {row[0] for row in rows} and not kept(outcome) & dropped
    assert set(outcome.drops["kept_id"]) <= kept(outcome)


@settings(max_examples=20)
@given(rows=ROWS)
def test_no_near_duplicate_of_a_held_out_document_stays_on_the_training_side(rows: list[Row]) -> None:
    staying = [row for row in rows if row[0] in kept(decide(rows))]
    for id_, part, text in staying:
        others = [other for other in staying if part == "test" and other[1] != "test" and other[0] != id_]
        assert all(jaccard(text, other[2]) < 0.7 for other in others)


@pytest.mark.parametrize(
    ("rows", "survivor"),
    [
        ([("b", "train", 0), ("a", "train", 2)], "a"),
        ([("a", "train", 0), ("b", "test", 2)], "b"),
        ([("a", "train", 0), ("b", "valid", 2)], "b"),
        ([("a", "valid", 0), ("b", "test", 2), ("c", "test", 1)], "b"),
    ],
)
def test_held_out_wins_over_training_then_the_smallest_id(rows: list[tuple[str, str, int]], survivor: str) -> None:
    assert kept(decide([(id_, part, variant(0, version)) for id_, part, version in rows])) == {survivor}


def test_a_held_out_newcomer_that_matches_an_accepted_training_document_is_dropped() -> None:
    old = [("b", "train", variant(0, 0))]
    outcome = decide([*old, ("a", "test", variant(0, 2))], state(decide(old)))
    assert outcome.drops.select("id", "kept_id", "reason").rows() == [("a", "b", "near_duplicate")]


def test_reasons_tell_exact_from_near() -> None:
    outcome = decide([("a", "train", variant(0, 0)), ("b", "train", variant(0, 1)), ("c", "train", variant(0, 2))])
    assert dict(outcome.drops.select("id", "reason").iter_rows()) == {"b": "exact_duplicate", "c": "near_duplicate"}
    assert outcome.stats["reasons"] == {"exact_duplicate": 1, "near_duplicate": 1}
    assert outcome.stats["clusters"] == 1 and outcome.stats["largest_cluster"] == 3


def test_the_size_of_a_cluster_is_kept_with_its_survivor() -> None:
    rows = [("b", "train", variant(0, 0)), ("a", "train", variant(0, 2)), ("c", "train", variant(1, 0))]
    outcome = decide(rows)
    assert outcome.sizes.rows() == [("a", "s-000", 2)]


def test_a_newcomer_does_not_change_the_size_that_an_accepted_document_had() -> None:
    old = [("b", "train", variant(0, 0)), ("c", "train", variant(0, 2)), ("e", "train", variant(1, 0))]
    new = [("a", "train", variant(0, 1)), ("d", "train", variant(1, 2)), ("f", "train", variant(2, 0))]
    first = decide(old)
    second = decide([*old, *new, ("g", "train", variant(2, 1))], state(first))
    assert second.sizes.rows() == [("b", "s-000", 2), ("f", "s-000", 2)]
    assert decide([*old, *new], state(second)).sizes.row(0) == ("b", "s-000", 2)


def test_a_document_that_vanished_leaves_the_state_and_frees_its_duplicates() -> None:
    rows = [("a", "train", variant(0, 0)), ("b", "train", variant(0, 2))]
    first = decide(rows)
    assert kept(first) == {"a"}
    second = decide(rows[1:], state(first))
    assert kept(second) == {"b"} and second.drops.is_empty()
    assert kept(decide([], state(second))) == set()


def test_a_newcomer_that_joins_two_accepted_documents_is_dropped_and_both_stay() -> None:
    words = [f"w{n}" for n in range(200)]
    left = " ".join([*words[:176], *(f"end{n}" for n in range(24))])
    right = " ".join([*(f"start{n}" for n in range(24)), *words[24:]])
    old = [("b", "train", left), ("a", "train", right)]
    first = decide(old)
    assert kept(first) == {"a", "b"}
    outcome = decide([*old, ("0", "test", " ".join(words))], state(first))
    assert kept(outcome) == {"a", "b"}


def test_an_id_in_two_shards_stays_once_in_the_shard_that_had_it_first() -> None:
    row = ("a", "train", variant(0, 0))
    first = find_duplicates(signed({"s-007": [row]}), State.empty(), CONF)
    second = find_duplicates(signed({"s-001": [row], "s-007": [row]}), state(first), CONF)
    assert second.drops.rows() == [("a", "s-001", "a", "exact_duplicate")]
    assert second.accepted.rows() == [("a", "s-007")]
    gone = find_duplicates(signed({"s-001": [row]}), state(second), CONF)
    assert gone.drops.is_empty() and gone.accepted.rows() == [("a", "s-001")]


def test_a_large_bucket_of_near_duplicates_keeps_one() -> None:
    rows = [(f"{n:04d}", "train", " ".join([*BASES[0], f"tail{n}"])) for n in range(300)]
    assert kept(decide(rows, shards=7)) == {"0000"}


@given(count=st.integers(0, 12), data=st.data())
def test_components_are_those_of_a_graph_search(count: int, data) -> None:
    node = st.integers(0, max(count - 1, 0))
    edges = data.draw(st.lists(st.tuples(node, node), max_size=15)) if count else []
    pairs = np.array(edges, np.int64).reshape(-1, 2)
    expected = list(range(count))
    for _ in range(count):
        for left, right in edges:
            expected[left] = expected[right] = min(expected[left], expected[right])
    assert components(count, pairs[:, 0], pairs[:, 1]).tolist() == expected


@pytest.mark.parametrize(("low", "high", "recall"), [(0.8, 0.9, 0.97), (0.9, 1.0, 0.99)])
def test_near_duplicates_are_found_at_the_promised_recall(low: float, high: float, recall: float) -> None:
    chance = random.Random(1)
    rows, pairs = [], []
    while len(pairs) < 400:
        words = [f"word{chance.randrange(100_000)}" for _ in range(chance.randrange(40, 300))]
        original, copy = " ".join(words), changed(words, chance.uniform(0.0, 0.12), chance)
        if low <= jaccard(original, copy) < high:
            pairs.append((f"{len(rows):06d}", f"{len(rows) + 1:06d}"))
            rows += [(pairs[-1][0], "train", original), (pairs[-1][1], "train", copy)]
    frame = pl.DataFrame({"id": [row[0] for row in rows], "text": [row[2] for row in rows]})
    outcome = find_duplicates(
        sign(frame, "train", CONF).with_columns(pl.lit("s-000").alias("shard")), State.empty(), CONF
    )
    found = set(outcome.drops.select("id", "kept_id").iter_rows())
    assert len(found & {(second, first) for first, second in pairs}) / len(pairs) >= recall
    assert len(found) <= len(pairs)


def test_different_real_documents_are_not_taken_for_duplicates(docstrings) -> None:
    rows = [(f"{n:04d}", "train", text) for n, text in enumerate(docstrings)]
    texts = {id_: " ".join(text.lower().split()) for id_, _, text in rows}
    near = decide(rows).drops.select("id", "kept_id").rows()
    assert all(jaccard(texts[left], texts[right], 2) > 0.3 for left, right in near)
