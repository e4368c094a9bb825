"""The plan over the toy flow, artifacts published by hand: no server, no child process."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.core.artifact import Artifact, FileEntry, Manifest
from tasks.core.errors import ConfigError
from tasks.core.plan.costs import Prices
from tasks.core.plan.planner import Pending, Planner, Reached, Row
from tasks.core.plan.step_history import History
from tasks.core.run_warnings import warning
from tasks.core.step import Call, foresee, interpreted_by
from tasks.core.store.local import LocalBackend
from tasks.core.store.store import Store
from tests import toy
from tests.in_process import InProcess

TEXTS = {"a": "hello", "b": "world"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(LocalBackend(tmp_path))


def run(store: Store, texts: dict[str, str] = TEXTS, word: str = "one") -> None:
    with interpreted_by(InProcess(store)):
        toy.wiring(texts, toy.ToyConf(word=word))


def plan(store: Store, texts: dict[str, str] = TEXTS, word: str = "one", **how: Any) -> dict[str, tuple[str, str]]:
    planner = Planner(store, **how)
    try:
        with interpreted_by(planner):
            toy.wiring(texts, toy.ToyConf(word=word))
    except Reached:
        pass
    return {row.step + (f"[{row.shard}]" if row.shard else ""): (row.action, row.reason) for row in planner.rows}


def test_before_the_first_run_the_first_step_runs_and_all_else_waits(store: Store) -> None:
    rows = plan(store)
    assert rows["make[a]"] == ("run", "not made yet")
    assert rows["shout[b]"] == ("wait", "waits on make[b]")
    assert rows["train"] == ("wait", "waits on join")


def test_after_a_run_everything_hits(store: Store) -> None:
    run(store)
    assert {action for action, _ in plan(store).values()} == {"hit"}


def test_a_changed_option_is_named_with_old_and_new_value(store: Store) -> None:
    run(store)
    rows = plan(store, word="two")
    assert rows["make[a]"] == ("run", "word: one → two")


def test_an_option_of_how_to_run_changes_nothing(store: Store) -> None:
    run(store)
    planner = Planner(store)
    with interpreted_by(planner):
        toy.wiring(TEXTS, toy.ToyConf(word="one", run=toy.ToyRun(pause=9.0)))
    assert {row.action for row in planner.rows} == {"hit"}


def test_a_new_shard_leaves_the_old_ones_alone(store: Store) -> None:
    run(store)
    rows = plan(store, {**TEXTS, "c": "again"})
    assert rows["make[a]"][0] == rows["shout[b]"][0] == "hit"
    assert rows["make[c]"][0] == "run"
    assert rows["join"] == ("wait", "waits on shout[c]")


def test_the_same_bytes_from_another_input_stop_the_change(store: Store) -> None:
    run(store)
    run(store, {**TEXTS, "b": "world "})  # shout strips it: its content comes out the same
    rows = plan(store, {**TEXTS, "b": "world "})
    assert rows["join"][0] == rows["train"][0] == "hit"
    assert len(list(store.manifests("shout"))) == 3
    assert len(list(store.manifests("join"))) == 1


@pytest.mark.parametrize("damage", ["delete", "truncate"])
@pytest.mark.parametrize("step", ["make", "shout", "join", "train"])
def test_one_damaged_artifact_runs_again_and_says_what_is_wrong(store: Store, step: str, damage: str) -> None:
    run(store)
    victim = next(m for m in store.manifests(step))
    path = store.local(victim) / victim.files[-1].path
    if damage == "delete":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    rows = plan(store)
    label = step + (f"[{victim.shard}]" if victim.shard else "")
    assert rows[label][0] == "run"
    assert victim.files[-1].path in rows[label][1]
    run(store)
    assert {action for action, _ in plan(store).values()} == {"hit"}
    assert len(list(store.manifests())) == 6


def test_refresh_runs_a_step_that_hits(store: Store) -> None:
    run(store)
    assert plan(store, refresh=("join",))["join"] == ("run", "asked for by --refresh")


def test_until_leaves_out_what_follows(store: Store) -> None:
    assert list(plan(store, until="shout")) == ["make[a]", "make[b]", "shout[a]", "shout[b]"]


def test_a_wrong_name_for_until_or_refresh_is_refused_with_the_right_ones(store: Store) -> None:
    planner = Planner(store, refresh=("shuot",))
    with interpreted_by(planner):
        toy.wiring(TEXTS, toy.ToyConf())
    with pytest.raises(ConfigError, match=r"no step 'shuot'; did you mean shout\?"):
        planner.check_names()


def made(store: Store, text: str) -> Artifact:
    """One artifact of `make`, as an input."""
    with interpreted_by(InProcess(store)):
        return toy.make({"shard": text, "text": text}, conf=toy.ToyConf())


def test_a_pinned_step_keeps_its_first_inputs_until_its_options_change(store: Store) -> None:
    def pinned(text: str, word: str = "one") -> Artifact:
        with interpreted_by(InProcess(store)):
            return toy.shout.pinned("pin/toy", made(store, text), conf=toy.ToyConf(word=word))

    first = pinned("first")
    assert pinned("second") == first
    anew = pinned("second", "two")
    assert anew.digest != first.digest
    store.forget("shout", anew.key)
    assert pinned("third", "two") == anew, "made again from the inputs that are remembered"
    assert pinned("third") == first, "the options of before find the memory of before"


def test_until_a_pinned_step_remembers_what_it_made(store: Store) -> None:
    stopped = InProcess(store, until="shout")
    with interpreted_by(InProcess(store)):
        item = toy.make({"shard": "x", "text": "first"}, conf=toy.ToyConf())
    with interpreted_by(stopped), pytest.raises(Reached):
        toy.shout.pinned("pin/toy", item, conf=toy.ToyConf())
    assert [value["result"]["step"] for value in store.refs().values()] == ["shout"]


def test_the_plan_lists_the_store_once_per_step(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run(store)
    listed: list[str] = []
    look = store.listing
    monkeypatch.setattr(store, "listing", lambda step: listed.append(step) or look(step))
    plan(store)
    assert sorted(listed) == ["join", "make", "shout", "train"]


def test_what_a_ref_remembers_is_looked_up_in_the_listings_of_the_steps(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wiring() -> None:
        shards = toy.make.map([{"shard": name, "text": name} for name in "abcde"], conf=toy.ToyConf())
        toy.join.pinned(
            "pin/toy", tuple(s.part("out") for s in toy.shout.map(shards, conf=toy.ToyConf())), conf=toy.ToyConf()
        )

    with interpreted_by(InProcess(store)):
        wiring()
    listed: list[str] = []
    names, names_of = store.backend.names, store.backend.names_of
    monkeypatch.setattr(store.backend, "names", lambda prefix: listed.append(prefix) or names(prefix))
    monkeypatch.setattr(store.backend, "names_of", lambda step, keys: listed.append(step) or names_of(step, keys))
    planner = Planner(store)
    with interpreted_by(planner):
        wiring()
    assert {row.action for row in planner.rows} == {"hit"} and len(planner.rows) == 11
    assert sorted(listed) == ["join/", "make/", "shout/"]


def test_a_chained_step_gets_what_was_made_before_and_repeats_itself_on_the_same_inputs(store: Store) -> None:
    seen: list[Any] = []

    class Spy(InProcess):
        def carry_out(self, calls: list[Call]) -> list[Any]:
            if calls[0].step is toy.shout and calls[0].known is None:
                seen.append(calls[0].inputs[-1])
                return super().carry_out([c.with_inputs(c.inputs[0]) for c in calls])
            return super().carry_out(calls)

    def chained(text: str) -> Artifact:
        item = made(store, text)
        with interpreted_by(Spy(store)):
            return toy.shout.chained("chain/toy", item, conf=toy.ToyConf())

    first = chained("first")
    assert chained("first") == first and seen == [None]
    second = chained("second")
    assert seen[-1] == first
    assert chained("second") == second and len(seen) == 2


def test_time_and_bytes_follow_the_bytes_of_what_is_read(store: Store) -> None:
    def listed(shard: str, size: int) -> dict[str, Any]:
        return {"shard": shard, "entries": [{"uri": "a", "size": size}]}

    def fetched(shard: str, size: int, seconds: float) -> Manifest:
        parts = {"inputs": [{"value": listed(shard, size)}], "code": {}, "conf": None, "format": 1}
        files = (FileEntry("content/docs.parquet", size // 2, ""),)
        return Manifest("make", shard, parts, "", "", files, {}, (), {"seconds": seconds, "finished": shard}, shard)

    planner = Planner(store)
    planner.history._past["make"] = [fetched("a", 1000, 3.0)]
    ten = planner._estimate(Call(toy.make, (listed("b", 10_000),), toy.ToyConf()))
    assert ten == {"seconds": 30.0, "bytes": 5000}, "ten times as large takes ten times as long"
    planner = Planner(store)
    planner.history._past["make"] = [fetched("a", 1000, 3.0), fetched("b", 9000, 18.0), fetched("c", 1_000_000, 900.0)]
    assert planner._estimate(Call(toy.make, (listed("d", 10_000),), toy.ToyConf()))["seconds"] == 20.0, "as its nearest"
    made = Artifact.of(fetched("d", 10_000, 1.0))
    before = Artifact.of(planner.history._past["make"][0]).ref()
    planner.history._past["shout"] = [replace(fetched("a", 0, 4.0), step="shout", inputs=(before,))]
    shouted = planner._estimate(Call(toy.shout, (made,), toy.ToyConf()))
    waiting = planner._estimate(Call(toy.shout, (Pending("make[d]", "d", {"bytes": 5000}),), toy.ToyConf()))
    assert shouted["seconds"] == waiting["seconds"] == 40.0, "of what is made, and of what is not yet, as estimated"
    unknown = planner._estimate(Call(toy.shout, (Pending("make[d]", "d"),), toy.ToyConf()))
    assert unknown["seconds"] == 4.0


def test_what_is_foreseen_of_a_step_is_told_once_its_inputs_are_there_and_only_if_it_is_to_run(store: Store) -> None:
    def look(item: Artifact, conf: toy.ToyConf) -> tuple[str, list[dict[str, str]]]:
        return f"it reads {(item / 'text.txt').read_text()}", [warning("too loud", "word")]

    def planned(word: str, looks_in: bool) -> Row:
        planner = Planner(store, looks_in=looks_in)
        with interpreted_by(planner):
            item = toy.make({"shard": "a", "text": "x"}, conf=toy.ToyConf())
            toy.shout(item, conf=toy.ToyConf(word=word))
            foresee(toy.shout, look, item, conf=toy.ToyConf(word=word))
        return planner.rows[-1]

    assert planned("one", looks_in=True).foreseen == "what is cut or left out is not known before make[a] is made"
    with interpreted_by(InProcess(store)):
        item = toy.make({"shard": "a", "text": "x"}, conf=toy.ToyConf())
        toy.shout(item, conf=toy.ToyConf())
        foresee(toy.shout, look, item, conf=toy.ToyConf())
    row = planned("two", looks_in=True)
    assert (row.action, row.foreseen, row.warnings) == ("run", "it reads x", [warning("too loud", "word")])
    assert planned("two", looks_in=False).foreseen == planned("one", looks_in=True).foreseen == "", "a run, and a hit"


def test_time_and_cost_follow_the_work_of_the_last_artifact_or_what_is_foretold(store: Store) -> None:
    run(store)
    planner = Planner(store, prices=Prices(per_device_hour=2.0))
    made_by = {"seconds": 1800.0, "device": "NVIDIA H100 80GB HBM3", "world_size": 2}
    (made,) = store.manifests("train")
    planner.history._past["train"] = [replace(made, stats={"flops": 1e12}, made_by=made_by)]

    def estimated(**own: float) -> dict[str, float]:
        step = replace(toy.train, estimate=lambda conf: own)
        return planner._estimate(Call(step, (), toy.ToyConf()))

    more = estimated(flops=3e12, seconds=1.0)
    assert list(more)[:2] == ["seconds", "cost"] and more["seconds"] == 5400 and more["cost"] == pytest.approx(6.0)
    assert estimated(tokens=5.0)["seconds"] == 1800, "work that is not known is taken to be the same"
    planner.history = History(store)
    planner.history._past["train"] = []
    assert estimated(seconds=7200.0, device_hours=4.0) == {"cost": 8.0, "seconds": 7200.0, "device_hours": 4.0}
    planner.prices = Prices()
    assert "cost" not in estimated(seconds=7200.0, device_hours=4.0)
