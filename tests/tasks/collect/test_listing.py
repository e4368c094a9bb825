"""Sources listed and dealt into shards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conf.schema.data import CollectConf
from tasks.collect.listing import assignment_of, deal, observe_sources
from tasks.core.errors import DataError

Entry = dict[str, Any]
uris = st.text("abcxyz/._-09é", min_size=1, max_size=6)
listings = st.dictionaries(uris, st.integers(0, 120), max_size=30).map(
    lambda sizes: [{"uri": uri, "name": uri, "size": size, "stamp": "1"} for uri, size in sizes.items()]
)


@given(listings, listings)
def test_adding_entries_never_changes_an_old_shard(old: list[Entry], new: list[Entry]) -> None:
    before = deal("s", old, {}, 100)
    known = {entry["uri"] for entry in old}
    after = deal("s", old + [entry for entry in new if entry["uri"] not in known], assignment_of(before), 100)
    assert [shard for shard in after if shard["shard"] in {had["shard"] for had in before}] == before


@given(listings, listings)
def test_every_entry_is_in_exactly_one_shard(old: list[Entry], now: list[Entry]) -> None:
    dealt = deal("s", now, assignment_of(deal("s", old, {}, 100)), 100)
    assert sorted(e["uri"] for shard in dealt for e in shard["entries"]) == sorted(e["uri"] for e in now)


@given(listings, st.randoms())
def test_the_order_of_a_listing_does_not_matter(entries: list[Entry], random: Any) -> None:
    shuffled = list(entries)
    random.shuffle(shuffled)
    assert deal("s", shuffled, {}, 100) == deal("s", entries, {}, 100)


@given(listings, st.data())
def test_removing_an_entry_changes_its_shard_only(entries: list[Entry], data: st.DataObject) -> None:
    before = deal("s", entries, {}, 100)
    gone = data.draw(st.sampled_from([e["uri"] for e in entries])) if entries else None
    after = deal("s", [e for e in entries if e["uri"] != gone], assignment_of(before), 100)
    untouched = [shard for shard in before if gone not in [e["uri"] for e in shard["entries"]]]
    assert [shard for shard in after if shard in untouched] == untouched
    assert len(after) <= len(before)


@given(listings)
def test_no_shard_of_more_than_one_entry_passes_the_limit(entries: list[Entry]) -> None:
    for shard in deal("s", entries, {}, 100):
        assert len(shard["entries"]) == 1 or sum(e["size"] for e in shard["entries"]) <= 100


def test_the_name_of_an_emptied_shard_is_not_given_again() -> None:
    one, two = ({"uri": name, "name": name, "size": 80, "stamp": "1"} for name in "ab")
    first = assignment_of(deal("s", [one, two], {}, 100))
    second = assignment_of(deal("s", [one], first, 100), first)
    assert [shard["shard"] for shard in deal("s", [one, two], second, 100)] == ["s-000", "s-002"]


def test_a_source_out_of_the_config_keeps_its_assignment() -> None:
    had = {"other-000": {"source": "other", "uris": ["x"]}}
    shards = deal("s", [{"uri": "a", "name": "a", "size": 1, "stamp": "1"}], {}, 100)
    assert assignment_of(shards, had) == {"s-000": {"source": "s", "uris": ["a"]}, **had}


def folder_of(tmp_path: Path, count: int) -> CollectConf:
    for number in range(count):
        (tmp_path / f"{number}.txt").write_text(f"text {number}")
    return CollectConf.model_validate({"sources": {"own": {"kind": "files", "paths": [str(tmp_path)]}}})


def test_a_source_that_shrinks_beyond_the_limit_is_refused_until_it_is_allowed(tmp_path: Path) -> None:
    conf = folder_of(tmp_path, 4)
    before = assignment_of(observe_sources(conf))
    for number in range(3):
        (tmp_path / f"{number}.txt").unlink()
    with pytest.raises(DataError, match=r"1 entries where it had 4.*max_entry_loss=1"):
        observe_sources(conf, before)
    allowed = conf.model_copy(update={"max_entry_loss": 1.0})
    assert [e["name"] for e in observe_sources(allowed, before)[0]["entries"]] == ["3.txt"]


def test_a_file_changed_in_place_changes_only_its_stamp(tmp_path: Path) -> None:
    conf = folder_of(tmp_path, 2)
    before = observe_sources(conf)
    (tmp_path / "1.txt").write_text("another text")
    after = observe_sources(conf, assignment_of(before))
    assert after != before
    assert after[0]["entries"][0] == before[0]["entries"][0]


def test_a_new_file_comes_into_a_shard_of_its_own(tmp_path: Path) -> None:
    conf = folder_of(tmp_path, 2)
    first = observe_sources(conf)
    memory = assignment_of(first)
    assert observe_sources(conf, memory) == first and assignment_of(first, memory) == memory
    (tmp_path / "0-new.txt").write_text("new")
    grown = observe_sources(conf, memory)
    names = [[entry["name"] for entry in shard["entries"]] for shard in grown]
    assert grown[0] == first[0] and names == [["0.txt", "1.txt"], ["0-new.txt"]]


def test_which_entries_there_are_stays_out_of_the_key_of_what_is_read(tmp_path: Path) -> None:
    one, two = (folder_of(tmp_path / name, 0).sources["own"] for name in "ab")
    assert one != two and one.for_key() == two.for_key()


def test_listing_the_demo_imports_nothing_heavy() -> None:
    program = """
import sys, yaml
from conf.schema.recipe import DataConf
from tasks.collect.steps import observe_sources
assert observe_sources(DataConf.model_validate(yaml.safe_load(open("conf/data/demo.yaml"))))
print(*{"torch", "polars", "pyarrow", "pandas", "boto3", "prefect"} & set(sys.modules))
"""
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
