"""Where documents are: in tables, among what was dropped, in what was made from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.core.errors import ConfigError
from tasks.core.store.store import Store
from tasks.corpus import document_index
from tests.tasks.core.held import A, B, C, D, E, Made, chain, rows


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return chain(tmp_path)


def test_a_document_is_named_by_its_id_the_start_of_it_or_its_uri(store: Store) -> None:
    for doc in (A, A[:6], "s/a"):
        assert document_index.resolve(store, doc) == [{"id": A, "source": "s", "uri": "s/a"}]
    for doc in (A[:5], "f" * 32, "s/z"):
        with pytest.raises(ConfigError, match=f"no document '{doc}' in this store: give its id"):
            document_index.resolve(store, doc)


def test_a_page_of_a_web_archive_is_named_by_its_web_address_too(tmp_path: Path) -> None:
    made = Made(tmp_path)
    uris = ["a.warc!http://x/a#0", "b.warc!http://x/a#9", "a.warc!http://x/ab#40", "http://x/a/b"]
    found = [row | {"uri": uri} for row, uri in zip(rows(A, B, C, D), uris, strict=True)]
    made.add("fetch_shard", {"content/docs.parquet": found})
    assert [one["id"] for one in document_index.resolve(made.store, "http://x/a")] == sorted([A, B])


def test_a_start_that_two_ids_share_is_refused_and_a_uri_means_all_that_it_held(tmp_path: Path) -> None:
    twins = Made(tmp_path)
    first, second = "abcdef" + "0" * 26, "abcdef" + "1" * 26
    twins.add("fetch_shard", {"content/docs.parquet": rows(first, second)})
    with pytest.raises(ConfigError, match=f"'abcdef' is the start of 2 ids; give more of it:\n  {first}  s/a"):
        document_index.resolve(twins.store, "abcdef")
    assert [one["id"] for one in document_index.resolve(twins.store, "s/a")] == [first, second]


def test_what_was_trained_on_a_document_is_found_past_what_lost_it(store: Store) -> None:
    found = document_index.look(store, [A])
    steps = {row["step"]: row for row in found.rows() if row["state"] == "held"}
    assert set(steps) == {"fetch_shard", "split_shard", "clean_shard", "filter_shard", "decontaminate_shard"}
    assert steps["decontaminate_shard"]["parts"] == ["train"] and steps["fetch_shard"]["parts"] == []
    derived = {step: sides for (step, _), (_, sides) in found.made.items()}
    made_of_it = ("sign_shard", "train_tokenizer", "tokenize_shard", "pretrain", "evaluate_lm")
    assert derived == {step: {"train"} for step in made_of_it}
    assert found.fate(A) == "in the training data"
    assert [(one["id"], one["uri"], one["reason"]) for one in found.duplicates] == [(C, "s/c", "near_duplicate")]
    assert found.held([A], ["fetch_shard"])[A] == list(found.looked["fetch_shard"])


def test_a_document_that_was_held_out_or_dropped_is_in_no_model(store: Store) -> None:
    found = document_index.look(store, [B, C, D])
    assert found.fate(B) == "held out for evaluation only"
    assert found.fate(C) == f"dropped before training: near_duplicate (kept: {A})"
    assert found.fate(D) == "dropped before training: min_words (3 < 8)"
    assert {step: sides for (step, _), (_, sides) in found.made.items() if step in ("pretrain", "evaluate_lm")} == {
        "evaluate_lm": {"test"}
    }
    assert [(one["id"], one["reason"]) for one in found.duplicates] == [(E, "overlaps_evalset")]


def test_repeats_are_made_of_what_is_trained_on_and_not_of_what_only_counted_among_duplicates(tmp_path: Path) -> None:
    chain(tmp_path)
    made = Made(tmp_path)
    (signed,), (tokens,) = made.store.manifests("sign_shard"), made.store.manifests("tokenize_shard")
    clusters = made.add("cluster", {}, signed)
    repeats = made.link("repeat_shard", (tokens, "train"), (clusters, "s-000"))
    made.link("train_again", (repeats, "pass-2"))

    def sides(doc: str, step: str) -> list[set[str]]:
        found = document_index.look(made.store, [doc])
        return [sides for (name, _), (_, sides) in found.made.items() if name == step]

    assert sides(A, "repeat_shard") == sides(A, "train_again") == [{"train"}]
    for doc in (B, C, D):
        assert sides(doc, "repeat_shard") == sides(doc, "train_again") == []
    assert sides(B, "cluster") == [{"test"}]
