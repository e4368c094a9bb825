"""Whatever people do to the registry by hand, the next act of ours works and says what it found, or why it cannot."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from tasks.core.errors import ArtifactError, ConfigError, FromzeroError, Refused
from tasks.core.tracking.mlflow_db import EXPERIMENT
from tasks.register import examine, journal, promotion, registry, weights
from tasks.register.mlflow_writer import mlflow_at
from tests.mlflow_server import MlflowServer
from tests.tasks.register.conftest import FakeStore, Publish

Act = tuple[str, int]
PEOPLE = (
    "delete version", "delete model", "rename", "rename back", "alias champion", "alias previous", "take alias",
    "stage", "spoil tags", "by hand", "delete files", "delete logged model", "delete run",
)  # fmt: skip
OURS = ("register", "gate", "gate", "promote", "rollback", "rollback", "look", "doctor")


class World:
    """A registered model, the people who handle it, and what should have come of it."""

    def __init__(self, uri: str, store: FakeStore, publish: Publish, name: str, folder: Path) -> None:
        self.uri, self.store, self.publish, self.name, self.folder = uri, store, publish, name, folder
        self.client = MlflowClient(uri, uri)
        found = self.client.get_experiment_by_name(EXPERIMENT)
        self.experiment = found.experiment_id if found else self.client.create_experiment(EXPERIMENT)
        self.made = 0
        self.line: list[str] = []
        """Weights of the champions, as promotions, rollbacks and what was found would have it; the present one last."""
        self.taken_down: set[str] = set()

    # what is there

    def versions(self) -> list[Any]:
        return registry.versions(self.uri, self.name)

    def chosen(self, number: int) -> Any:
        known = self.versions()
        return known[number % len(known)] if known else None

    def champion(self) -> Any:
        found = [version for version in self.versions() if "champion" in version.aliases]
        assert len(found) <= 1
        return found[0] if found else None

    def weights_of(self, version: Any) -> str:
        return version.digest or f"by hand {version.version}"

    def see(self) -> None:
        """What the next settlement finds."""
        present = self.champion()
        if present is not None:
            self.push(self.weights_of(present))

    def push(self, what: str) -> None:
        self.line = [*self.line[:-1], what] if self.line[-1:] == [what] else [*self.line, what]

    # people

    def act(self, what: str, number: int) -> None:
        """An act of a person; one that MLflow refuses is none."""
        version = self.chosen(number)
        number_of = str(version.version) if version else "1"
        acts: dict[str, Callable[[], Any]] = {
            "delete version": lambda: self.client.delete_model_version(self.name, number_of),
            "delete model": lambda: self.client.delete_registered_model(self.name),
            "rename": lambda: self.client.rename_registered_model(self.name, f"{self.name}-renamed"),
            "rename back": lambda: self.client.rename_registered_model(f"{self.name}-renamed", self.name),
            "alias champion": lambda: self.client.set_registered_model_alias(self.name, "champion", number_of),
            "alias previous": lambda: self.client.set_registered_model_alias(self.name, "previous", number_of),
            "take alias": lambda: self.client.delete_registered_model_alias(self.name, "champion"),
            "stage": lambda: self.client.transition_model_version_stage(self.name, number_of, "Archived"),
            "spoil tags": lambda: self.spoil(number_of),
            "by hand": lambda: self.client.create_model_version(self.name, self.files(), description="mine"),
            "delete files": lambda: version and shutil.rmtree(unquote(version.location), ignore_errors=True),
            "delete logged model": lambda: self.client.delete_logged_model(version.tags["model"]),
            "delete run": lambda: self.client.delete_run(version.tags["run"]),
        }
        try:
            acts[what]()
        except (MlflowException, KeyError, AttributeError):
            event(f"{what}: not possible")

    def files(self) -> str:
        """A folder of a person's own, which the person may delete again."""
        return str(shutil.copytree(self.folder, self.folder.with_name(f"{self.name}-mine"), dirs_exist_ok=True))

    def spoil(self, version: str) -> None:
        for tag in ("fromzero.incumbent", "fromzero.files", "fromzero.approval.until"):
            self.client.set_model_version_tag(self.name, version, tag, "{what people write")

    # us

    def register(self, letter: str) -> Any:
        """As `register_model` does: the version with these weights, made if there is none that is whole."""
        found = registry.find(self.uri, self.name, letter)
        if found is not None:
            return found
        self.made += 1
        run = self.client.create_run(self.experiment).info.run_id
        logged = self.client.create_logged_model(self.experiment, source_run_id=run)
        self.client.log_model_artifacts(logged.model_id, str(self.folder))
        if self.name not in registry.names(self.uri):
            self.client.create_registered_model(self.name)
        tags = {"fromzero.digest": letter, "fromzero.artifact": f"pretrain/{letter}", "run": run}
        tags |= {"fromzero.files": '{"MLmodel": 1}', "fromzero.gate": "accepted", "model": logged.model_id}
        source = f"models:/{logged.model_id}"
        with mlflow_at(self.uri):
            made = self.client.create_model_version(self.name, source, run_id=run, tags=tags, model_id=logged.model_id)
        found = registry.find(self.uri, self.name, letter)
        assert found is not None and found.version == int(made.version)
        return found

    def gate(self, letter: str) -> None:
        """The whole release of weights that are better: it ends with them as champion, or says why not."""
        target = self.register(letter)
        self.see()
        present = self.champion()
        seen = present is not None and weights.unmeasurable(self.store, self.uri, present) is None
        compared = registry.observation(present) if seen else None
        registered = {"name": self.name, "version": target.version, "digest": letter}
        decision = self.publish("gate", None, None, accepted=True)
        try:
            promotion.promote_accepted(self.store, self.uri, registered, compared, decision)
        except Refused as refused:
            foreign = present is not None and present.digest is None
            assert letter in self.taken_down or foreign, refused
            assert ("rolled back by" in str(refused)) == (letter in self.taken_down)
            assert ("did not register" in str(refused)) == foreign
        else:
            assert self.champion().version == target.version
            self.push(letter)

    def promote(self, number: int) -> None:
        """By hand, whatever it is."""
        target = self.chosen(number)
        if target is None:
            with pytest.raises(ConfigError, match=r"no model|no version left"):
                promotion.promote(self.store, self.uri, self.name, 1, "by hand", force=True)
            return
        self.see()
        wrong = registry.damage(self.uri, target)
        try:
            promotion.promote(self.store, self.uri, self.name, target.version, "by hand", force=True)
        except ArtifactError as error:
            assert wrong and wrong[0] in str(error)
            return
        assert not wrong and self.champion().version == target.version
        self.push(self.weights_of(target))
        self.taken_down.discard(self.weights_of(target))

    def rollback(self) -> None:
        """It gives the alias to the newest earlier champion that is there, or says that there is none."""
        self.see()
        present, whole = self.champion(), {}
        for version in self.versions():
            if not registry.damage(self.uri, version):
                whole[self.weights_of(version)] = version
        now = self.weights_of(present) if present else None
        there = [what for what in self.line if what != now and what in whole]
        try:
            moved = promotion.rollback(self.store, self.uri, self.name, "it swears")
        except (ConfigError, ArtifactError) as error:
            assert not there, error
            said = ("had no champion before", "no champion before it", "has no 'champion'; there are: ")
            assert any(words in str(error) for words in said) or not self.versions()
            return
        assert there and self.weights_of(self.champion()) == there[-1]
        assert moved["to"] == self.champion().version
        if present is not None and present.digest:
            self.taken_down.add(present.digest)
        while self.line[-1] != there[-1]:
            self.line.pop()

    def look(self, number: int) -> None:
        """What generate, chat, compare and a run's start ask for."""
        for which in ("", "@champion", "@previous", f"@{number}"):
            with says_what_it_found(self.name):
                found = registry.resolve(self.uri, f"{self.name}{which}")
                assert not registry.damage(self.uri, found)

    def doctor(self) -> None:
        """It says so where the journal's champion is not MLflow's, or is not whole."""
        present, before = self.champion(), journal.last(journal.history(self.store, self.name))
        rows = [row for row in examine.examine(self.store, self.uri) if row.name == f"model {self.name}"]
        now = journal.Champion(present.version, present.digest) if present else None
        fine = journal.agrees(before, now) and not (present and registry.damage(self.uri, present))
        assert any(row.state == "warn" and row.fix for row in rows) != fine


@contextmanager
def says_what_it_found(name: str) -> Iterator[None]:
    try:
        yield
    except FromzeroError as error:
        assert isinstance(error, (ConfigError, ArtifactError)), error
        assert f"did you mean {name}?" not in str(error)
        assert "RESOURCE_DOES_NOT_EXIST" not in str(error) and "not found" not in str(error)


COUNT = iter(range(10**6))


@pytest.fixture
def worlds(uri: str, store: FakeStore, publish: Publish, tmp_path: Path) -> Callable[[], World]:
    def made() -> World:
        name = f"tiny-{next(COUNT)}"
        folder = tmp_path / name  # of its own: people delete the files that a version made by hand names
        folder.mkdir()
        (folder / "MLmodel").write_text("x")
        return World(uri, store, publish, name, folder)

    return made


acts = st.lists(st.tuples(st.sampled_from([*PEOPLE, *OURS]), st.integers(0, 3)), min_size=3, max_size=12)


@given(acts=acts)
@example(acts=[("gate", 0), ("gate", 1), ("delete version", 0), ("gate", 2), ("rollback", 0)])
@example(acts=[("gate", 0), ("gate", 1), ("gate", 2), ("delete version", 1), ("rollback", 0), ("doctor", 0)])
@example(acts=[("gate", 0), ("delete version", 0), ("look", 0), ("doctor", 0), ("gate", 0), ("doctor", 0)])
@example(acts=[("gate", 0), ("gate", 1), ("delete model", 0), ("gate", 2), ("gate", 1), ("rollback", 0)])
@example(acts=[("gate", 0), ("gate", 1), ("rename", 0), ("gate", 0), ("gate", 2), ("rollback", 0)])
@example(acts=[("gate", 0), ("rename", 0), ("doctor", 0), ("rename back", 0), ("gate", 1), ("rollback", 0)])
@example(acts=[("gate", 0), ("gate", 1), ("delete files", 1), ("doctor", 0), ("gate", 2), ("rollback", 0)])
@example(acts=[("gate", 0), ("gate", 1), ("delete logged model", 0), ("rollback", 0), ("gate", 0), ("rollback", 0)])
@example(acts=[("gate", 0), ("by hand", 0), ("alias champion", 1), ("gate", 1), ("promote", 1), ("rollback", 0)])
@example(acts=[("gate", 0), ("take alias", 0), ("doctor", 0), ("rollback", 0), ("gate", 1), ("rollback", 0)])
@example(acts=[("delete version", 0), ("register", 0), ("rollback", 0)])
@example(acts=[("gate", 0), ("by hand", 0), ("delete files", 1), ("register", 1)])
@example(acts=[("gate", 0), ("spoil tags", 0), ("gate", 1), ("rollback", 0), ("gate", 1), ("look", 1)])
@settings(
    max_examples=6, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
def test_whatever_people_do_the_next_act_of_ours_works_or_says_why(
    worlds: Callable[[], World], acts: list[Act]
) -> None:
    world = worlds()
    for what, number in acts:
        if what in PEOPLE:
            world.act(what, number)
        elif what in ("rollback", "doctor"):
            getattr(world, what)()
        elif what in ("register", "gate"):
            getattr(world, what)("abcd"[number])
        else:
            getattr(world, what)(number)


def test_through_a_server_it_is_the_same(
    worlds: Callable[[], World], server: MlflowServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = worlds()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    world = World(server.uri, there.store, there.publish, "it's tiny", there.folder)
    for letter in "abc":
        world.gate(letter)
    world.act("delete version", 1)
    world.doctor()
    world.rollback()
    world.act("delete logged model", 0)
    world.doctor()
    world.gate("d")
    world.act("delete model", 0)
    world.doctor()
    world.look(1)
    world.gate("b")
    world.rollback()


@pytest.mark.parametrize(
    ("act", "told"),
    [
        ("delete version", "version 2 was champion, and somebody has deleted it: the champion was none"),
        ("take alias", "version 2 was champion, and somebody has moved the alias: the champion was none"),
        ("alias champion", "version 2 was champion, and somebody has moved the alias: the champion was version 1"),
        ("delete model", "version 2 was champion; nothing is registered as NAME any more, by somebody's hand"),
        ("delete files", "version 2 was champion, but its weights are gone (MLmodel is missing)"),
        ("delete logged model", "version 2 was champion, but its weights are gone (its files were deleted in MLflow)"),
    ],
)
def test_a_promotion_says_what_it_found(worlds: Callable[[], World], publish: Publish, act: str, told: str) -> None:
    world = worlds()
    world.gate("a")
    world.gate("b")
    world.act(act, 0 if act == "alias champion" else 1)
    before = [row for row in examine.examine(world.store, world.uri) if row.name == f"model {world.name}"]
    assert [row.state for row in before] == ["warn"] and "version 2" in before[0].found and before[0].fix
    third = world.register("c")
    present = world.champion()
    compared = registry.observation(present) if act == "alias champion" else None
    registered, decision = {"name": world.name, "version": third.version}, publish("gate", None, None, accepted=True)
    moved = promotion.promote_accepted(world.store, world.uri, registered, compared, decision)
    told = told.replace("NAME", world.name)
    if act == "delete model":  # the new version is there by then
        told = "version 2 was champion, and somebody has deleted it: the champion was none"
    assert moved["found"] == told
    assert [row.state for row in examine.examine(world.store, world.uri) if row.name == f"model {world.name}"] == ["ok"]


def test_a_model_without_versions_is_not_taken_for_a_misspelt_one(worlds: Callable[[], World]) -> None:
    world = worlds()
    world.gate("a")
    world.act("delete version", 0)
    with pytest.raises(ConfigError, match=f"{world.name} has no version left, .* run again to register it anew"):
        registry.resolve(world.uri, world.name)
    with pytest.raises(ConfigError, match="no version left"):
        promotion.promote(world.store, world.uri, world.name, 1, "again")


def test_weights_whose_version_was_deleted_come_back_under_their_new_number(worlds: Callable[[], World]) -> None:
    world = worlds()
    for letter in "ab":
        world.gate(letter)
    world.act("delete version", 0)
    assert world.register("a").version == 3
    moved = promotion.rollback(world.store, world.uri, world.name)
    assert (moved["to"], moved["from"]) == (3, 2)


def test_a_rollback_names_the_champions_that_it_passes_over(worlds: Callable[[], World]) -> None:
    world = worlds()
    for letter in "abc":
        world.gate(letter)
    world.act("delete version", 1)
    moved = promotion.rollback(world.store, world.uri, world.name)
    assert (moved["to"], moved["found"]) == (1, "version 2 is passed over: it was deleted in MLflow")
    assert json.dumps(moved)
