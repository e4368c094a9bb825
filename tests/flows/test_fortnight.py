"""A fortnight of nightly runs in minutes: deliveries each day, a bad one, a night without power, a run that dies."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from conf.compose import compose
from flows.data import prepare
from tasks.core.plan.planner import Reached
from tasks.core.services import prefect_api
from tasks.core.step import Call, interpreted_by
from tasks.core.store.local import LocalBackend
from tasks.core.store.store import Store
from tasks.validate import suites
from tests.flows.test_quarantine import write
from tests.in_process import InProcess
from tests.tasks.validate.conftest import SUITE
from tests.toy_process import eventually

DAYS = 14
BAD, DARK, KILLED = 5, (8, 9), 11
"""The day of the bad delivery, the nights without power, and the one whose run dies before its end."""
FIRST = datetime(2026, 12, 1, 2, tzinfo=UTC)


class Dies(BaseException):
    """The power fails."""


class Night(InProcess):
    """One run, which may die when it gets to a step; knows the last results of each."""

    def __init__(self, store: Store, dies_at: str | None) -> None:
        super().__init__(store, until="tokenize_shard")
        self.dies_at = dies_at
        self.results: dict[str, list[Any]] = {}

    def carry_out(self, calls: list[Call]) -> list[Any]:
        """As it is, unless it dies."""
        if calls[0].step.name == self.dies_at:
            raise Dies
        return self.results.setdefault(calls[0].step.name, super().carry_out(calls))


@pytest.fixture
def told(prefect_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The server that hears of what happens in runs of a recipe of this name."""
    name = "fortnight"
    flow = prefect_api.ask(prefect_url, "flows/", {"name": name})["id"]
    run = prefect_api.ask(prefect_url, "flow_runs/", {"flow_id": flow})["id"]
    monkeypatch.setenv("PREFECT_API_URL", prefect_url)
    monkeypatch.setenv("FROMZERO_CONTEXT", json.dumps({"flow_run": run}))
    return name


def events(url: str, name: str, recipe: str) -> list[dict[str, Any]]:
    wanted = {"event": {"name": [name]}, "resource": {"id": [f"fromzero.recipe.{recipe}"]}}
    return list(prefect_api.ask(url, "events/filter", {"filter": wanted})["events"])


def test_every_good_delivery_of_a_fortnight_is_in_the_next_nights_tokens_and_nothing_is_made_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: str, prefect_url: str
) -> None:
    texts, store, made = tmp_path / "texts", Store(LocalBackend(tmp_path / "store")), Counter[str]()
    texts.mkdir()
    (tmp_path / "documents.yaml").write_text(SUITE)
    for contract in suites.FOLDER.glob("contract_*.yaml"):
        shutil.copy(contract, tmp_path)
    monkeypatch.setattr(suites, "FOLDER", tmp_path)
    recipe = compose("text", (
        "name=fortnight", f"data.sources.mine.paths=[{texts}]", "data.shard_mb=0.004", "data.split.test=0.1",
        "data.validation.quarantine.max_row_share=0.6", "data.validation.full_shards=0", "tokenizer.vocab_size=300",
        "data.validation.quarantine.set_aside=shards",
    ))  # fmt: skip
    delivered: list[int] = []
    for day in range(DAYS):
        now = FIRST + timedelta(days=day)
        write(texts / f"{now:%Y-%m-%d}.jsonl", 100 * day, torn="\ufffd" * 9 if day == BAD else "")
        delivered.append(day)
        if day in DARK:
            continue
        night = Night(store, "filter_shard" if day == KILLED else None)
        try:
            with interpreted_by(night), pytest.raises(Reached):
                prepare(recipe)
        except Dies:
            assert day == KILLED
            made.update(night.made)
            continue
        made.update(night.made)
        trained = {shard.shard for shard in night.results["tokenize_shard"] if shard.stats["parts"]["train"]["tokens"]}
        assert trained == {f"mine-{number:03d}" for number in delivered if number != BAD}, f"the night of {now:%d.%m.}"
    again = Night(store, None)
    with interpreted_by(again), pytest.raises(Reached):
        prepare(recipe)
    assert not again.made
    of_shards = {label: count for label, count in made.items() if "[" in label}
    assert set(of_shards.values()) == {1}, {label: count for label, count in of_shards.items() if count > 1}
    assert made["train_tokenizer"] == 1
    assert eventually(lambda: events(prefect_url, "fromzero.quarantine", told))
    heard = [event["payload"]["shards"] for event in events(prefect_url, "fromzero.quarantine", told)]
    assert heard == [[f"mine-{BAD:03d}"]], "told once, not each night"
