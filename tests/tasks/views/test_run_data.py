"""What a report is made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.views import model_view
from tasks.views.report import cost_section, data_section, training_section
from tasks.views.report.page import _marks
from tasks.views.run_data import gather
from tests.tasks.views.small_run import Made, chain


def test_of_a_step_that_a_resumed_trainer_repeated_the_last_row_counts(tmp_path: Path) -> None:
    made = chain(tmp_path)
    (found,) = training_section.trainings(gather(made.store, "small", made.record("refused")))
    losses = {series.name: dict(series.points) for series in found.charts[0].series}
    assert losses == {"training": {1.0: 8.0, 2.0: 7.0, 3.0: 5.5, 4.0: 5.25}, "validation": {3.0: 5.0}}
    assert [chart.title for chart in found.charts] == ["Loss", "Learning rate", "Throughput"]
    assert [(sample["how"], sample["text"][:5]) for sample in found.samples if sample["prompt"]] == [
        *(("step 1", "at 1:"), ("step 4", "at 4:"), ("step 7", "at 7:")),
    ]


def test_no_reason_has_more_examples_than_are_shown(tmp_path: Path) -> None:
    made = chain(tmp_path)
    found = data_section.examples(gather(made.store, "small", made.record("refused")))
    assert {place[0]: len(some) for place, some in found.items()} == {"collect": 1, "clean": data_section.EXAMPLES}


def test_unreadable_rows_are_grouped_by_what_went_wrong_and_only_the_most_frequent_are_shown(tmp_path: Path) -> None:
    made = Made(tmp_path)
    reasons = [f"invalid byte 0x{n:02x} in position {n}" for n in range(50)]
    reasons += [f"other trouble {chr(ord('a') + n)}" for n in range(20)]
    rows = [{"file": "a", "position": n, "reason": reason} for n, reason in enumerate(reasons)]
    made.add("fetch_shard", shard="s-000", files={"aux/unreadable.jsonl": rows})
    found = data_section.examples(gather(made.store, "small", made.record("completed")))
    assert len(found) == data_section.REASONS
    first, some = next(iter(found.items()))
    assert first == ("collect", "invalid byte … in position …") and len(some) == data_section.EXAMPLES
    assert some[1].detail == "invalid byte 0x01 in position 1"


def test_a_model_knows_its_candidate_and_the_champion_that_it_had_to_beat(tmp_path: Path) -> None:
    made = chain(tmp_path)
    (model,) = model_view.models(gather(made.store, "small", made.record("refused")))
    ours, theirs = model.head(), model.champion()
    assert ours and theirs and (ours.value, theirs.value, model.state) == (3.0, 2.5, "refused")
    assert [mark.kind for mark in _marks(model)] == ["model", "champion", "baseline", "model"]


def test_reused_steps_cost_nothing_now_and_keep_what_they_cost_before(tmp_path: Path) -> None:
    made = chain(tmp_path)
    record = made.record("completed")
    record["steps"] = [{**step, "state": "cached", "seconds": 0.0} for step in record["steps"]]
    total = cost_section.total(cost_section.efforts(gather(made.store, "small", record)))
    assert (total.seconds, total.watt_hours, total.cost) == (0.0, 0.0, None) and total.reused_seconds > 7200


@pytest.mark.parametrize(("option", "known"), [("price_per_core_hour", True), ("price_per_device_hour", False)])
def test_a_run_costs_nothing_known_if_the_price_of_what_it_used_is_missing(
    tmp_path: Path, option: str, known: bool
) -> None:
    made = chain(tmp_path)
    made.record_step("gate", "skipped", key=None, seconds=None)
    record = made.record("completed", config={"engine": {option: 0.5}})
    efforts = {row.name: row for row in cost_section.efforts(gather(made.store, "small", record))}
    assert efforts["pretrain"].cost == (pytest.approx(2.0) if known else None)
    assert (cost_section.total(efforts.values()).cost is not None) == known
    record["steps"] = [{**step, "state": "cached", "seconds": 0.0} for step in record["steps"]]
    assert cost_section.total(cost_section.efforts(gather(made.store, "small", record))).cost == 0.0


def test_the_artifacts_of_a_step_are_looked_at_together_and_only_if_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Made(tmp_path)
    for shard in ("a", "b", "c"):
        made.add("fetch_shard", shard=shard, files={"content/text.txt": shard})
        made.add("clean_shard", shard=shard, files={"content/text.txt": shard})
    looked: list[tuple[str, int]] = []
    look = made.store.look_at
    monkeypatch.setattr(made.store, "look_at", lambda step, keys: looked.append((step, len(keys))) or look(step, keys))
    run = gather(made.store, "small", made.record("completed"))
    assert [manifest.shard for manifest in run.of("fetch_shard")] == ["a", "b", "c"]
    assert looked == [("fetch_shard", 3)]
    assert len(run.manifests()) == 6 and looked == [("fetch_shard", 3), ("clean_shard", 3)]
