"""Where documents are: in tables, among what was dropped, in what was made from them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tasks.core import holders
from tasks.core.artifact import Manifest
from tasks.core.errors import ConfigError
from tasks.core.local import LocalBackend
from tasks.core.step import Workdir
from tasks.core.store import Store

A, B, C, D = (digit * 32 for digit in "abcd")
COLUMNS = dict.fromkeys(("id", "source", "uri", "text"), pl.String)
REJECT = {"source": "s", "part": "train", "text": "no"}


class Made:
    """A store with artifacts of tables that were written by hand."""

    def __init__(self, folder: Path) -> None:
        self.store, self.folder = Store(LocalBackend(folder / "store")), folder

    def add(
        self, step: str, tables: Mapping[str, list[dict[str, Any]]], *inputs: Manifest, part: str | None = None
    ) -> Manifest:
        key = hashlib.sha256(f"{step}{part}{[one.key for one in inputs]}".encode()).hexdigest()
        work = Workdir(self.folder / "work" / key)
        work.make()
        for name, rows in (tables or {"content/weights.parquet": [{"w": 1}]}).items():
            (work.root / name).parent.mkdir(parents=True, exist_ok=True)
            pl.DataFrame(rows, schema=None if rows else COLUMNS).write_parquet(work.root / name)
        refs = tuple({"step": m.step, "key": m.key, "digest": m.digest, "part": part, "shard": "s-000"} for m in inputs)
        return self.store.publish(work, Manifest(step, key, {}, "", "", (), {}, refs, {}, "s-000"))


def rows(*ids: str) -> list[dict[str, str]]:
    return [{"id": id_, "source": "s", "uri": f"s/{id_[0]}", "text": id_} for id_ in ids]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """A is trained on, B held out, C dropped as a duplicate of A, D cleaned away."""
    made = Made(tmp_path)
    fetched = made.add("fetch_shard", {"content/docs.parquet": rows(A, B, C, D)})
    split = made.add(
        "split_shard", {"content/train/docs.parquet": rows(A, C, D), "content/test/docs.parquet": rows(B)}, fetched
    )
    cleaned = made.add("clean_shard", {
        "content/train/docs.parquet": rows(A, C), "content/test/docs.parquet": rows(B),
        "aux/rejects.parquet": [{"id": D, "uri": "s/d", "reason": "min_words", "detail": "3 < 8", **REJECT}],
    }, split)  # fmt: skip
    signed = made.add("sign_shard", {}, cleaned)
    filtered = made.add("filter_shard", {
        "content/train/docs.parquet": rows(A), "content/test/docs.parquet": rows(B),
        "aux/rejects.parquet": [{"id": C, "uri": "s/c", "reason": "near_duplicate", "detail": f"kept: {A}", **REJECT}],
    }, cleaned, signed)  # fmt: skip
    evalset = made.add("freeze_evalset", {"content/test.parquet": rows(B)}, filtered)
    ready = made.add(
        "decontaminate_shard",
        {"content/train/docs.parquet": rows(A), "content/valid/docs.parquet": []},
        filtered,
        evalset,
    )
    made.add("train_tokenizer", {}, ready, part="train")
    made.add("check_valid", {}, ready, part="valid")
    model = made.add("pretrain", {}, made.add("tokenize_shard", {}, ready))
    made.add("evaluate_lm", {}, model, evalset)
    return made


def test_a_document_is_named_by_its_id_the_start_of_it_or_its_uri(made: Made) -> None:
    for doc in (A, A[:6], "s/a"):
        assert holders.resolve(made.store, doc) == [{"id": A, "source": "s", "uri": "s/a"}]
    for doc in (A[:5], "f" * 32, "s/z"):
        with pytest.raises(ConfigError, match=f"no document '{doc}' in this store: give its id"):
            holders.resolve(made.store, doc)


def test_a_start_that_two_ids_share_is_refused_and_a_uri_means_all_that_it_held(tmp_path: Path) -> None:
    twins = Made(tmp_path)
    first, second = "abcdef" + "0" * 26, "abcdef" + "1" * 26
    twins.add("fetch_shard", {"content/docs.parquet": rows(first, second)})
    with pytest.raises(ConfigError, match=f"'abcdef' is the start of 2 ids; give more of it:\n  {first}  s/a"):
        holders.resolve(twins.store, "abcdef")
    assert [one["id"] for one in holders.resolve(twins.store, "s/a")] == [first, second]


def test_what_was_trained_on_a_document_is_found_past_what_lost_it(made: Made) -> None:
    found = holders.look(made.store, [A])
    steps = {row["step"]: row for row in found.rows() if row["state"] == "held"}
    assert set(steps) == {"fetch_shard", "split_shard", "clean_shard", "filter_shard", "decontaminate_shard"}
    assert steps["decontaminate_shard"]["parts"] == ["train"] and steps["fetch_shard"]["parts"] == []
    derived = {step: sides for (step, _), (_, sides) in found.made.items()}
    made_of_it = ("sign_shard", "train_tokenizer", "tokenize_shard", "pretrain", "evaluate_lm")
    assert derived == {step: {"train"} for step in made_of_it}
    assert found.fate(A) == "in the training data"
    assert [(one["id"], one["uri"], one["reason"]) for one in found.duplicates] == [(C, "s/c", "near_duplicate")]
    assert found.held([A], ["fetch_shard"])[A] == list(found.looked["fetch_shard"])


def test_a_document_that_was_held_out_or_dropped_is_in_no_model(made: Made) -> None:
    found = holders.look(made.store, [B, C, D])
    assert found.fate(B) == "held out for evaluation only"
    assert found.fate(C) == f"dropped before training: near_duplicate (kept: {A})"
    assert found.fate(D) == "dropped before training: min_words (3 < 8)"
    assert {step: sides for (step, _), (_, sides) in found.made.items() if step in ("pretrain", "evaluate_lm")} == {
        "evaluate_lm": {"test"}
    }
    assert found.duplicates == []
