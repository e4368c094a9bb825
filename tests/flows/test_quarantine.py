"""The data's way, its steps carried out right here: what one shard's fate makes again, and what it leaves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from conf.compose import compose
from conf.schema.recipe import Recipe
from flows.data import prepare
from tasks.core.plan.planner import Reached
from tasks.core.step import Call, interpreted_by
from tasks.core.store.local import LocalBackend
from tasks.core.store.store import Store
from tasks.validate import suites
from tests.in_process import InProcess
from tests.tasks.validate.conftest import SUITE

FRUIT = ("apple", "pear", "cherry", "quince", "plum", "fig", "grape", "melon")
OF_A_SHARD = ("fetch", "profile", "split", "clean", "sign", "filter", "decontaminate")


class Keeping(InProcess):
    """Knows the last results of each step."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, until="decontaminate_shard")
        self.results: dict[str, list[Any]] = {}

    def carry_out(self, calls: list[Call]) -> list[Any]:
        return self.results.setdefault(calls[0].step.name, super().carry_out(calls))


def run(store: Store, recipe: Recipe) -> Keeping:
    """Everything up to decontamination."""
    maker = Keeping(store)
    with interpreted_by(maker), pytest.raises(Reached):
        prepare(recipe)
    return maker


def write(file: Path, start: int, torn: str = "") -> None:
    """40 documents without two alike."""

    def text(n: int) -> str:
        words = [FRUIT[n >> 3 * place & 7] + str(n % (place + 2)) for place in range(4)]
        return f"Of the {' and the '.join(words)} it is said that they have been here in the year {n * 7919}.{torn}"

    file.write_text("".join(json.dumps({"text": text(n)}) + "\n" for n in range(start, start + 40)))


def test_a_shard_that_is_set_aside_leaves_the_others_as_they_are_and_comes_back_when_it_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts, store = tmp_path / "texts", Store(LocalBackend(tmp_path / "store"))
    texts.mkdir()
    (tmp_path / "documents.yaml").write_text(SUITE)
    monkeypatch.setattr(suites, "FOLDER", tmp_path)
    for number in range(3):
        write(texts / f"{number}.jsonl", 100 * number, torn="\ufffd" * 9 if number == 1 else "")
    options = (
        f"data.sources.mine.paths=[{texts}]", "data.shard_mb=0.004", "data.split.test=0.1",
        "data.validation.quarantine.max_row_share=0.4", "data.validation.full_shards=0",
    )  # fmt: skip
    recipe = compose("text", (*options, "data.validation.quarantine.set_aside=shards"))

    first = run(store, recipe)
    (verdict,) = first.results["validate_corpus"]
    assert {shard: one["documents"] for shard, one in verdict.stats["quarantined"].items()} == {"mine-001": 40}
    rows = [split.stats["parts"] for split in first.results["split_shard"]]
    assert [sum(part["documents_out"] for part in parts.values()) for parts in rows] == [40, 0, 40]
    assert sum(part["reasons"]["quarantine"] for part in rows[1].values() if part["documents_in"]) == 40
    left = [shard.stats["parts"]["train"]["documents_out"] for shard in first.results["decontaminate_shard"]]
    assert left[1] == 0 < min(left[0], left[2])
    assert not run(store, recipe).made

    write(texts / "1.jsonl", 100)
    mended = run(store, recipe)
    assert set(mended.made) == {f"{step}_shard[mine-001]" for step in OF_A_SHARD} | {
        "validate_corpus", "cluster", "check_losses", "count_ngrams[mine-001]", "find_boilerplate",
    }  # fmt: skip
    assert "quarantined" not in mended.results["validate_corpus"][0].stats
    off = run(store, compose("text", options))
    assert set(off.made) == {"validate_corpus", *(f"split_shard[mine-{number:03d}]" for number in range(3))}
