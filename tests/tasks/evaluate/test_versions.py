"""Two versions on the same items, from the evaluations that a store holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tasks.core.artifact import Manifest, sha256
from tasks.core.errors import ArtifactError
from tasks.core.store.lease import FileLease
from tasks.core.store.local import LocalBackend
from tasks.core.store.store import Store
from tasks.evaluate.steps import compare_versions

Measured = dict[str, Any]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(LocalBackend(tmp_path))


def measured(
    store: Store, version: int, items: pl.DataFrame, evalset: str = "set", step: str = "evaluate_lm"
) -> Measured:
    """Publish an evaluation of a model on an evaluation set; what the registry would say of that version."""
    key = sha256([version, evalset, step])
    work = store.backend.open_work(f"{step}/{key}", FileLease(0))
    work.make()
    items.write_parquet(work / "items.parquet")
    made = (("pretrain", f"model-{version}"), ("freeze_evalset", evalset))
    inputs = tuple({"step": step, "key": sha256(digest), "digest": digest} for step, digest in made)
    store.publish(work, Manifest(step, key, {"conf": {"window": 64}}, "", "", (), {}, inputs))
    return {"name": "m", "version": version, "digest": f"model-{version}", "evaluation": f"{step}/{key}"}


def scored(nats: float, items: int = 40) -> pl.DataFrame:
    """Items that cost about so much."""
    return pl.DataFrame({"id": range(items), "bytes": [10] * items, "nats": [nats + n % 3 for n in range(items)]})


def test_the_better_one_is_named_with_gain_and_interval(store: Store) -> None:
    old, new = measured(store, 1, scored(20.0)), measured(store, 2, scored(15.0))
    found = compare_versions(store, old, new, 200, 0.95)
    (row,) = found["metrics"]
    assert (row["metric"], row["verdict"], row["items"]) == ("bits_per_byte", "new is better", 40)
    assert 0 < row["low"] <= row["gain"] <= row["high"] and row["new"] < row["old"]
    assert (found["old"]["version"], found["new"]["version"], found["evalset"]) == (1, 2, "set")
    assert compare_versions(store, new, old, 200, 0.95)["metrics"][0]["verdict"] == "old is better"
    assert compare_versions(store, old, old, 200, 0.95)["metrics"][0]["verdict"] == "not proven"


def test_a_classifier_is_compared_by_accuracy_and_macro_f1(store: Store) -> None:
    right = pl.DataFrame(
        {"id": range(40), "label": ["a", "b"] * 20, "predicted": ["a", "b"] * 20, "correct": [True] * 40}
    )
    wrong = right.with_columns(predicted=pl.lit("a"), correct=pl.col("label") == "a")
    old, new = (measured(store, n, one, step="evaluate_classifier") for n, one in ((1, wrong), (2, right)))
    found = compare_versions(store, old, new, 200, 0.95)["metrics"]
    assert {row["metric"]: row["verdict"] for row in found} == dict.fromkeys(("accuracy", "macro_f1"), "new is better")


def test_few_items_prove_nothing(store: Store) -> None:
    old, new = measured(store, 1, scored(20.0, 5)), measured(store, 2, scored(15.0, 5))
    assert compare_versions(store, old, new, 200, 0.95)["metrics"][0]["verdict"] == "too few items"


def test_other_evaluation_sets_are_said_with_the_mend_until_one_is_shared(store: Store) -> None:
    old, new = measured(store, 1, scored(20.0), "first"), measured(store, 2, scored(15.0), "second")
    with pytest.raises(ArtifactError, match=r"version 2 on second, version 1 on first.*fromzero promote m 1 --force"):
        compare_versions(store, old, new, 200, 0.95)
    measured(store, 1, scored(20.0), "second")
    assert compare_versions(store, old, new, 200, 0.95)["evalset"] == "second"


def test_an_evaluation_that_is_gone_is_named(store: Store) -> None:
    old, new = measured(store, 1, scored(20.0)), measured(store, 2, scored(15.0))
    store.forget(*old["evaluation"].split("/"))
    with pytest.raises(ArtifactError, match=r"evaluation of m version 1 .* is not in the store any more"):
        compare_versions(store, old, new, 200, 0.95)
