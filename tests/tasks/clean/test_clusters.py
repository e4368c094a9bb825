import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conf.schema.clean import DedupConf
from tasks.clean import buckets, choose_representatives, clusters, crowd, likeness, load_signatures, union_find
from tasks.clean.clusters import DROPS, SIZES, cluster_shards
from tasks.clean.signatures import schema, sign
from tasks.core.errors import DataError
from tasks.formats.documents import PARTS
from tests.tasks.clean.slow_clusters import Outcome, State, find_duplicates
from tests.tasks.clean.test_signatures import changed, jaccard

CONF = DedupConf()
Row = tuple[str, str, str]
"""id, part, text"""
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where small files cost least."""

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


def wide(id_: str) -> str:
    """A short id as 32 hex digits of the same order; one that is a hash stays."""
    return id_ if len(id_) == 32 else id_.encode().hex().ljust(32, "0")


def narrow(ids: pl.Series) -> pl.Series:
    return pl.Series([bytes.fromhex(id_).rstrip(b"\0").decode() for id_ in ids], dtype=pl.String)


Shards = dict[str, Sequence[Row]]


@cache
def signature(text: str) -> pl.DataFrame:
    return sign(pl.DataFrame({"id": [""], "text": [text]}), "", CONF).drop("id", "part")


def signed(rows: Sequence[Row]) -> pl.DataFrame:
    """Signatures with the texts that they are of."""
    signatures = pl.concat([schema(CONF).to_frame().drop("id", "part"), *(signature(text) for *_, text in rows)])
    names = {"id": [wide(id_) for id_, *_ in rows], "part": [part for _, part, _ in rows],
             "text": [text for *_, text in rows]}  # fmt: skip
    return pl.DataFrame(names, schema=dict.fromkeys(names, pl.String)).hstack(signatures)


@dataclass(frozen=True)
class Decided(Outcome):
    """What an intake wrote, with its folder and the ids as the test named them."""

    folder: Path
    held: Any


def intake(shards: Shards, previous: Decided | None = None) -> Decided:
    return take({shard: signed(rows) for shard, rows in shards.items()}, previous)


def take(
    tables: dict[str, pl.DataFrame],
    previous: Decided | None = None,
    conf: DedupConf = CONF,
    named: Callable[[pl.Series], pl.Series] = narrow,
) -> Decided:
    held = TemporaryDirectory(dir=MEMORY)
    folder = Path(held.name)
    for shard, table in tables.items():
        table.drop("text").write_parquet(folder / f"{shard}.parquet")
        for part in PARTS:
            (folder / shard / part).mkdir(parents=True)
            table.filter(part=part).select("id", "text").write_parquet(folder / shard / part / "docs.parquet")
        (folder / "out" / shard).mkdir(parents=True)
    (folder / "out/accepted").mkdir(parents=True, exist_ok=True)
    paths = {shard: folder / f"{shard}.parquet" for shard in tables}
    texts = {shard: lambda part, shard=shard: folder / shard / part / "docs.parquet" for shard in tables}
    before = previous.folder if previous else None
    stats = cluster_shards(paths, texts, before, (folder / "out").__truediv__, folder / "scratch", conf)
    assert not (folder / "scratch").exists()

    def gathered(name: str, columns: pl.Schema) -> pl.DataFrame:
        paths = sorted((folder / "out").glob(f"*/{name}"))
        tables = [pl.read_parquet(path).with_columns(shard=pl.lit(path.parent.name)) for path in paths]
        found = pl.concat([columns.to_frame().with_columns(shard=pl.lit(None, pl.String)), *tables])
        ids = [column for column in found.columns if column in ("id", "kept_id")]
        return found.with_columns(named(found[column]).alias(column) for column in ids)

    drops = gathered("drop.parquet", DROPS).select("id", "shard", "kept_id", "reason")
    sizes = gathered("sizes.parquet", SIZES).select("id", "shard", "size").sort("id")
    accepted = pl.read_parquet(folder / "out/accepted/documents.parquet")
    accepted = accepted.with_columns(named(accepted["id"]).alias("id"))
    return Decided(drops, accepted, sizes, stats, folder / "out", held)


def decide(rows: Sequence[Row], previous: Decided | None = None, shards: int = 1) -> Decided:
    return intake({f"s-{n:03d}": rows[n::shards] for n in range(shards)}, previous)


def kept(outcome: Decided) -> set[str]:
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


@settings(max_examples=25)
@given(rows=ROWS, data=st.data())
def test_the_outcome_of_one_intake_does_not_depend_on_order_or_shard_size(rows: list[Row], data) -> None:
    one = decide(rows)
    shuffled = data.draw(st.permutations(rows))
    other = decide(shuffled, shards=data.draw(st.integers(1, 5)))
    assert kept(one) == kept(other)
    assert one.drops.drop("shard").sort("id").equals(other.drops.drop("shard").sort("id"))


@settings(max_examples=25)
@given(rows=ROWS, cut=st.integers(0, 14))
def test_an_accepted_document_is_never_evicted_and_drops_stay_as_they_were(rows: list[Row], cut: int) -> None:
    old, new = {"s-000": rows[:cut]}, {"s-000": rows[:cut], "s-001": rows[cut:]}
    first = intake(old)
    second = intake(new, first)
    assert kept(first) <= kept(second)
    assert second.drops.filter(pl.col("shard") == "s-000").equals(first.drops)


@settings(max_examples=25)
@given(rows=ROWS, cut=st.integers(0, 14))
def test_nothing_new_changes_nothing(rows: list[Row], cut: int) -> None:
    first = intake({"s-000": rows[:cut]})
    second = decide(rows, first, shards=2)
    third = decide(rows, second, shards=2)
    assert third.drops.equals(second.drops) and third.accepted.equals(second.accepted)


@given(rows=ROWS)
def test_every_document_is_accepted_or_dropped_for_one_that_stays(rows: list[Row]) -> None:
    outcome = decide(rows)
    dropped = set(outcome.drops["id"])
    assert kept(outcome) | dropped == {row[0] for row in rows} and not kept(outcome) & dropped
    assert set(outcome.drops["kept_id"]) <= kept(outcome)


@contextmanager
def small_blocks() -> Iterator[None]:
    """Files, blocks and chunks of a few rows, so that a few documents fill many."""
    with pytest.MonkeyPatch.context() as patch:
        for module, name, rows in (
            (load_signatures, "_ROWS", 3), (load_signatures, "_KEYS", 4), (load_signatures, "_BATCH", 2),
            (union_find, "BLOCK", 3), (buckets, "_CHUNK", 2),
            (clusters, "_GROUP", 5), (choose_representatives, "LEADERS", 2),
            (crowd, "_BLOCK", 3), (crowd, "SHARING", 2),
            (likeness, "_CHUNK", 2), (likeness, "_VALUES", 100),
        ):  # fmt: skip
            patch.setattr(module, name, rows)
        yield


INTAKES = st.lists(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5), st.sampled_from(PARTS), st.integers(0, 2)), max_size=10),
    min_size=1,
    max_size=3,
)
"""For each intake its new rows: base, version, part, shard."""


@settings(max_examples=40)
@given(intakes=INTAKES, gone=st.integers(0, 2), salt=st.integers(0, 2**32))
def test_intakes_decide_what_the_slow_way_decides(intakes: list, gone: int, salt: int) -> None:
    """Ids are hashes of the text, so that they come back in other shards; in the end a shard vanishes."""
    shards: dict[str, dict[str, Row]] = {f"s-{n}": {} for n in range(3)}
    parts: dict[str, str] = {}
    fast, slow = None, State.empty()
    for new in [*intakes, None]:
        for base, version, part, shard in new or ():
            id_ = hashlib.sha256(f"{salt} {base} {version}".encode()).hexdigest()[:32]
            part = parts.setdefault(id_, part)
            shards[f"s-{shard}"][id_] = (id_, part, variant(base, version))
        if new is None:
            del shards[f"s-{gone}"]
        here = {shard: list(rows.values()) for shard, rows in shards.items()}
        tables = {shard: signed(rows) for shard, rows in here.items()}
        signatures = pl.concat(table.with_columns(shard=pl.lit(shard)) for shard, table in tables.items())
        with small_blocks():
            fast = take(tables, fast, named=lambda ids: ids)
            expected = find_duplicates(signatures, slow, CONF)
            anew = kept(find_duplicates(signatures, State.empty(), CONF))
        now = kept(expected)
        assert fast.drops.equals(expected.drops) and fast.accepted.equals(expected.accepted)
        assert fast.sizes.equals(expected.sizes.select(fast.sizes.columns))
        changed = {"dropped": len(now - anew), "accepted": len(anew - now)}
        assert fast.stats == {**expected.stats, "recomputed": changed}
        slow = State(expected.accepted, expected.drops.drop("shard"), expected.sizes.drop("shard"))


def test_bands_and_buckets_beyond_the_limit_are_compared_as_the_slow_way_compares_them() -> None:
    conf, chance = DedupConf(bands=3, rows=1, shingle=1, threshold=0.5), random.Random(3)
    rows = [[chance.randrange(3) for _ in range(3)] for _ in range(400)]
    ids = [hashlib.sha256(str(n).encode()).hexdigest()[:32] for n in range(400)]
    exact = [hashlib.sha256(str(row).encode()).hexdigest()[:32] if n % 2 else ids[n] for n, row in enumerate(rows)]
    texts = [" ".join(f"{place}-{value}" for place, value in enumerate(row)) for row in rows]
    columns = {"id": ids, "part": "train", "exact": exact, "minhash": rows, "text": texts}
    table = pl.DataFrame(columns, schema={**schema(conf), "text": pl.String})
    with small_blocks():
        expected = find_duplicates(table.with_columns(shard=pl.lit("s-0")), State.empty(), conf)
        found = take({"s-0": table}, conf=conf, named=lambda ids: ids)
    assert found.drops.equals(expected.drops) and found.stats["largest_cluster"] == expected.stats["largest_cluster"]


def test_an_id_that_is_no_hash_is_refused() -> None:
    table = signed([("a", "train", "some words")]).with_columns(id=pl.lit("a"))
    with pytest.raises(DataError, match=r"s-0\.parquet: an id or a hash in it is not 32 lower-case hex digits"):
        take({"s-0": table})


def test_sizes_that_an_earlier_intake_did_not_keep_are_counted_now() -> None:
    rows = [("a", "train", variant(0, 0)), ("b", "train", variant(0, 2))]
    first = decide(rows)
    (first.folder / "s-000/sizes.parquet").unlink()
    assert decide(rows, first).sizes.rows() == [("a", "s-000", 2)]


@settings(max_examples=20)
@given(rows=ROWS)
def test_no_near_duplicate_of_a_held_out_document_stays_on_the_training_side(rows: list[Row]) -> None:
    left = kept(decide(rows))
    staying = [row for row in rows if row[0] in left]
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
    outcome = decide([*old, ("a", "test", variant(0, 2))], decide(old))
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
    second = decide([*old, *new, ("g", "train", variant(2, 1))], first)
    assert second.sizes.rows() == [("b", "s-000", 2), ("f", "s-000", 2)]
    assert decide([*old, *new], second).sizes.row(0) == ("b", "s-000", 2)


def test_a_document_that_vanished_leaves_the_state_and_frees_its_duplicates() -> None:
    rows = [("a", "train", variant(0, 0)), ("b", "train", variant(0, 2))]
    first = decide(rows)
    assert kept(first) == {"a"}
    second = decide(rows[1:], first)
    assert kept(second) == {"b"} and second.drops.is_empty()
    assert kept(decide([], second)) == set()


def test_a_newcomer_that_joins_two_accepted_documents_is_dropped_and_both_stay() -> None:
    words = [f"w{n}" for n in range(200)]
    left = " ".join([*words[:176], *(f"end{n}" for n in range(24))])
    right = " ".join([*(f"start{n}" for n in range(24)), *words[24:]])
    old = [("b", "train", left), ("a", "train", right)]
    first = decide(old)
    assert kept(first) == {"a", "b"}
    outcome = decide([*old, ("0", "test", " ".join(words))], first)
    assert kept(outcome) == {"a", "b"}


def test_an_id_in_two_shards_stays_once_in_the_shard_that_had_it_first() -> None:
    row = ("a", "train", variant(0, 0))
    first = intake({"s-007": [row]})
    second = intake({"s-001": [row], "s-007": [row]}, first)
    assert second.drops.rows() == [("a", "s-001", "a", "exact_duplicate")]
    assert second.accepted.rows() == [("a", "s-007")]
    gone = intake({"s-001": [row]}, second)
    assert gone.drops.is_empty() and gone.accepted.rows() == [("a", "s-001")]


def revisions(count: int, step: int, length: int = 120) -> list[str]:
    """A text that changes little by little: each drops `step` words at its beginning and gets as many new ones."""
    words = [f"w{n}" for n in range(count * step + length)]
    return [" ".join(words[n * step : n * step + length]) for n in range(count)]


@pytest.mark.parametrize(("count", "step", "leaders"), [(120, 6, 16), (120, 6, 1), (60, 12, 3), (40, 2, 2)])
def test_of_a_chain_no_document_goes_for_one_that_is_not_like_it(
    monkeypatch: pytest.MonkeyPatch, count: int, step: int, leaders: int
) -> None:
    monkeypatch.setattr(choose_representatives, "LEADERS", leaders)
    monkeypatch.setattr(crowd, "_BLOCK", 16)
    texts = {f"{n * 7919 % 10_000:04d}": text for n, text in enumerate(revisions(count, step))}
    outcome = decide([(id_, "train", text) for id_, text in texts.items()], shards=3)
    near = [jaccard(texts[one], texts[other]) for one, other in outcome.drops.select("id", "kept_id").rows()]
    assert near and min(near) >= CONF.threshold
    staying = sorted(kept(outcome))
    apart = [jaccard(texts[one], texts[other]) for one in staying for other in staying if one < other]
    assert max(apart) < 0.85, "what stays is not alike itself"
    reach = [sum(jaccard(one, other) >= CONF.threshold for other in texts.values()) for one in texts.values()]
    assert outcome.stats["largest_cluster"] <= max(reach) < count


def test_what_a_signature_takes_for_alike_or_not_by_its_error_is_decided_by_the_shingles() -> None:
    words, chance = [f"w{n}" for n in range(104)], random.Random(2)
    texts, near = {}, {}
    for pair in range(300):
        own = [f"{word}-{pair}" for word in words]
        added = 41 + pair % 5  # 100 shingles of 141 to 145: .709 to .690
        texts[f"{pair:04d}a"] = " ".join(own)
        texts[f"{pair:04d}b"] = " ".join([*own, *(f"{chance.random()}" for _ in range(added))])
        near[pair] = jaccard(texts[f"{pair:04d}a"], texts[f"{pair:04d}b"]) >= CONF.threshold
    outcome = decide([(id_, "train", text) for id_, text in texts.items()])
    gone = {int(id_[:4]) for id_ in outcome.drops["id"]}
    estimated = {
        pair: float((signature(texts[f"{pair:04d}a"])["minhash"].to_numpy()
                     == signature(texts[f"{pair:04d}b"])["minhash"].to_numpy()).mean()) >= CONF.threshold
        for pair in near
    }  # fmt: skip
    assert sum(estimated[pair] and not near[pair] for pair in near) > 10, "signatures err on these"
    assert all(near[pair] for pair in gone) and len(gone) > 20


def test_a_shard_that_lacks_a_text_that_was_signed_is_named(tmp_path: Path) -> None:
    table = signed([("a", "train", variant(0, 0)), ("b", "train", f"{variant(0, 0)} " + variant(1, 0)[:80])])
    table.drop("text").write_parquet(tmp_path / "s-0.parquet")
    for part in PARTS:
        (tmp_path / part).mkdir()
        table.filter(part=part).head(1).select("id", "text").write_parquet(tmp_path / part / "docs.parquet")
    texts = {"s-0": lambda part: tmp_path / part / "docs.parquet"}
    with pytest.raises(DataError, match=r"does not hold 1 documents of s-0 that were signed.*--refresh sign_shard"):
        cluster_shards({"s-0": tmp_path / "s-0.parquet"}, texts, None, tmp_path.__truediv__, tmp_path / "scratch", CONF)


def test_a_held_out_revision_takes_only_what_is_like_it_out_of_training() -> None:
    texts = revisions(40, 6)
    outcome = decide([(f"{n:04d}", "test" if n == 20 else "train", text) for n, text in enumerate(texts)])
    gone = outcome.drops.filter(pl.col("kept_id") == "0020")["id"].to_list()
    assert gone and all(jaccard(texts[int(id_)], texts[20]) >= 0.7 for id_ in gone)
    assert len(kept(outcome)) > 5


def test_a_chain_that_grows_keeps_what_was_accepted_and_what_was_dropped() -> None:
    texts = revisions(60, 6)
    rows = [(f"{n * 7919 % 10_000:04d}", "train", text) for n, text in enumerate(texts)]
    first = intake({"s-0": rows[:20]})
    second = intake({"s-0": rows[:20], "s-1": rows[20:]}, first)
    assert kept(first) <= kept(second)
    assert second.drops.filter(pl.col("shard") == "s-0").equals(first.drops)
    third = intake({"s-0": rows[:20], "s-1": rows[20:]}, second)
    assert third.drops.equals(second.drops) and third.accepted.equals(second.accepted)


def test_a_large_bucket_of_near_duplicates_keeps_one() -> None:
    rows = [(f"{n:04d}", "train", " ".join([*BASES[0], f"tail{n}"])) for n in range(300)]
    assert kept(decide(rows, shards=7)) == {"0000"}


@pytest.mark.parametrize(
    ("low", "high", "recall", "signs"),
    [(0.8, 0.9, 0.97, 0), (0.8, 0.85, 0.97, 0), (0.8, 0.9, 0.97, 10), (0.9, 1.0, 0.99, 0)],
)
def test_near_duplicates_are_found_at_the_promised_recall(low: float, high: float, recall: float, signs: int) -> None:
    """Of every `signs` words one is a sign, which is no word to a shingle, so that an edit takes a greater share."""
    chance = random.Random(1)
    rows, pairs = [], []
    while len(pairs) < 400:
        words = [f"word{chance.randrange(100_000)}" for _ in range(chance.randrange(40, 300))]
        words = ["=" if signs and not n % signs else word for n, word in enumerate(words)]
        original, copy = " ".join(words), changed(words, chance.uniform(0.0, 0.12), chance)
        if low <= jaccard(original, copy) < high:
            pairs.append((f"{len(rows):06d}", f"{len(rows) + 1:06d}"))
            rows += [(pairs[-1][0], "train", original), (pairs[-1][1], "train", copy)]
    frame = pl.DataFrame({"id": [row[0] for row in rows], "text": [row[2] for row in rows]})
    frame = frame.with_columns(pl.col("id").map_elements(wide, pl.String))
    outcome = take({"s-000": sign(frame, "train", CONF).hstack(frame.select("text"))})
    found = set(outcome.drops.select("id", "kept_id").iter_rows())
    assert len(found & {(second, first) for first, second in pairs}) / len(pairs) >= recall
    assert len(found) <= len(pairs)


def test_different_real_documents_are_not_taken_for_duplicates(docstrings) -> None:
    rows = [(f"{n:04d}", "train", text) for n, text in enumerate(docstrings)]
    texts = {id_: " ".join(text.lower().split()) for id_, _, text in rows}
    near = decide(rows).drops.select("id", "kept_id").rows()
    assert all(jaccard(texts[left], texts[right], 2) > 0.3 for left, right in near)
