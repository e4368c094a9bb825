"""The champion's alias moves through the gate, by hand and back, and a crash in between is settled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from tasks.core.errors import ArtifactError, ConfigError, Refused
from tasks.register import mlflow_writer, promotion, registry
from tests.tasks.register.conftest import FakeStore, Publish

NAME = "tiny"
AddVersion = Callable[..., dict[str, Any]]


@pytest.fixture
def client(uri: str) -> MlflowClient:
    client = MlflowClient(uri, uri)
    client.create_registered_model(NAME)
    return client


@pytest.fixture
def add_version(client: MlflowClient, tmp_path: Path) -> AddVersion:
    """Registers a version with some weights' digest; files of a few bytes."""

    def add(digest: str, **tags: str) -> dict[str, Any]:
        folder = tmp_path / "models" / digest
        folder.mkdir(parents=True)
        (folder / "MLmodel").write_text("x")
        tags = {"fromzero.digest": digest, "fromzero.gate": "accepted", "fromzero.files": '{"MLmodel": 1}', **tags}
        made = client.create_model_version(NAME, str(folder), tags=tags)
        return {"name": NAME, "version": int(made.version), "digest": digest}

    return add


@pytest.fixture
def accept(uri: str, store: FakeStore, publish: Publish) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Promotes through the gate against the present champion."""

    def promote(registered: dict[str, Any]) -> dict[str, Any]:
        decision = publish("gate", None, None, accepted=True, rule="superior")
        return promotion.promote_accepted(store, uri, registered, registry.champion(uri, NAME), decision)

    return promote


def aliases(uri: str) -> dict[str, int]:
    return {alias: version.version for version in registry.versions(uri, NAME) for alias in version.aliases}


def journal(store: FakeStore) -> list[tuple[Any, ...]]:
    return [(e["action"], e["from"], e["to"], e["state"]) for e in promotion.history(store, NAME)]


def test_a_better_model_replaces_the_champion_and_one_command_undoes_it(
    uri: str, store: FakeStore, add_version: AddVersion, accept: Callable[..., Any]
) -> None:
    first, second, third = (add_version(digest) for digest in "abc")
    accept(first)
    assert aliases(uri) == {"champion": 1}
    accept(second)
    assert aliases(uri) == {"champion": 2, "previous": 1}
    accept(third)
    assert aliases(uri) == {"champion": 3, "previous": 2}
    promotion.rollback(store, uri, NAME)
    assert aliases(uri) == {"champion": 2, "previous": 1}
    promotion.rollback(store, uri, NAME)
    assert aliases(uri) == {"champion": 1}
    with pytest.raises(ConfigError, match="no champion before version 1"):
        promotion.rollback(store, uri, NAME)
    last = promotion.history(store, NAME)[-1]
    assert last["from"] == 2 and last["by"] and last["at"] and last["reason"] == "rolled back by hand"


def test_promoting_the_champion_again_changes_nothing(
    uri: str, store: FakeStore, add_version: AddVersion, accept: Callable[..., Any]
) -> None:
    first = add_version("a")
    accept(first)
    before = journal(store)
    assert accept(first)["moved"] is False
    assert journal(store) == before


def test_weights_that_were_rolled_back_come_back_by_hand_only(
    uri: str, store: FakeStore, add_version: AddVersion, accept: Callable[..., Any]
) -> None:
    first, second = add_version("a"), add_version("b")
    accept(first)
    accept(second)
    promotion.rollback(store, uri, NAME, "it swears")
    with pytest.raises(Refused, match=r"rolled back by .*it swears"):
        accept(second)
    assert aliases(uri)["champion"] == 1
    promotion.promote(store, uri, NAME, 2, "after all")
    assert aliases(uri) == {"champion": 2, "previous": 1}
    promotion.promote(store, uri, NAME, 1, "no")
    assert accept(second)["moved"] is True


@pytest.mark.parametrize("verdict", ["does not beat naive Bayes (…)", "was measured on too few items (3)"])
def test_a_first_model_that_the_gate_refused_is_not_promoted_and_the_first_line_says_why(
    uri: str, store: FakeStore, add_version: AddVersion, publish: Publish, verdict: str
) -> None:
    first = add_version("a")
    decision = publish("gate", None, None, accepted=False, first=True, verdict=verdict, reasons=["seen", verdict])
    with pytest.raises(Refused) as refused:
        promotion.promote_accepted(store, uri, first, None, decision)
    assert str(refused.value).splitlines()[0] == f"{NAME} version 1 is not promoted: it {verdict}"
    assert aliases(uri) == {}
    with pytest.raises(Refused, match=r"did not accept .* \(refused\); force promotes it"):
        promotion.promote(store, uri, NAME, 1, "please")
    assert promotion.promote(store, uri, NAME, 1, "please", force=True)["moved"]


def test_a_champion_that_was_not_the_one_compared_refuses_the_promotion(
    uri: str, store: FakeStore, add_version: AddVersion, accept: Callable[..., Any], publish: Publish
) -> None:
    first, second, third = (add_version(digest) for digest in "abc")
    accept(first)
    compared = registry.champion(uri, NAME)
    accept(second)
    decision = publish("gate", None, None, accepted=True)
    with pytest.raises(Refused, match="compared with version 1, but the champion is now version 2"):
        promotion.promote_accepted(store, uri, third, compared, decision)
    assert aliases(uri)["champion"] == 2


def test_a_repeated_run_finds_the_version_that_its_champion_was_compared_with(
    uri: str, add_version: AddVersion, accept: Callable[..., Any]
) -> None:
    first, second = add_version("a"), add_version("b")
    accept(first)
    assert registry.compared_with(uri, NAME, "a") is None
    before = registry.compared_with(uri, NAME, "b")
    accept(second)
    after = registry.compared_with(uri, NAME, "b")
    assert before is not None and after is not None
    assert (before["version"], before["digest"]) == (after["version"], after["digest"]) == (1, "a")


def test_an_alias_moved_by_hand_is_recorded_as_outside_the_gate(
    uri: str, store: FakeStore, client: MlflowClient, add_version: AddVersion, accept: Callable[..., Any]
) -> None:
    accept(add_version("a"))
    add_version("b")
    client.set_registered_model_alias(NAME, "champion", "2")
    promotion.rollback(store, uri, NAME)
    assert journal(store)[1:] == [("moved outside the gate", 1, 2, "done"), ("rollback", 2, 1, "done")]
    client.delete_registered_model_alias(NAME, "champion")
    accept(add_version("c"))
    assert journal(store)[3:] == [("moved outside the gate", 1, None, "done"), ("promote by the gate", None, 3, "done")]


class Killed(BaseException):
    """Stands in for SIGKILL: nothing of ours catches it."""


@pytest.mark.parametrize("moved", [False, True])
def test_a_crash_between_journal_and_alias_is_settled_at_the_next_look(
    uri: str, store: FakeStore, add_version: AddVersion, accept: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch, moved: bool,
) -> None:  # fmt: skip
    first, second = add_version("a"), add_version("b")
    accept(first)
    client = mlflow_writer.client_for(uri)
    real = client.set_registered_model_alias

    def die(name: str, alias: str, version: str) -> None:
        if moved:
            real(name, alias, version)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(client, "set_registered_model_alias", die)
        with pytest.raises(Killed):
            accept(second)
    assert journal(store)[-1][-1] == "begun"
    accept(second)
    assert aliases(uri) == {"champion": 2, "previous": 1}
    states = [state for *_, state in journal(store)]
    assert states == (["done", "done"] if moved else ["done", "undone", "done"])
    promotion.rollback(store, uri, NAME)
    assert aliases(uri) == {"champion": 1}


def test_a_journal_that_another_writer_changed_is_read_again(
    uri: str, store: FakeStore, add_version: AddVersion, accept: Callable[..., Any]
) -> None:
    accept(add_version("a"))
    raced: list[str] = []

    def race(name: str) -> None:
        if not raced:
            raced.append(name)
            value, etag = store.get_ref(name)
            store.set_ref(name, {**(value or {}), "note": "theirs"}, etag)

    store.before_set = race
    accept(add_version("b"))
    assert journal(store) == [("promote by the gate", None, 1, "done"), ("promote by the gate", 1, 2, "done")]


def test_models_never_accepted_are_promoted_by_hand_only_with_force(
    uri: str, store: FakeStore, add_version: AddVersion
) -> None:
    add_version("a", **{"fromzero.gate": "refused"})
    with pytest.raises(Refused, match="did not accept tiny version 1"):
        promotion.promote(store, uri, NAME, 1, "I like it")
    entry = promotion.promote(store, uri, NAME, 1, "I like it", force=True)
    assert entry["moved"] and promotion.history(store, NAME)[-1]["forced"] is True


def test_a_rollback_to_a_model_whose_files_are_gone_is_refused(
    uri: str, store: FakeStore, add_version: AddVersion, accept: Callable[..., Any], tmp_path: Path
) -> None:
    accept(add_version("a"))
    accept(add_version("b"))
    (tmp_path / "models" / "a" / "MLmodel").unlink()
    with pytest.raises(ArtifactError, match="MLmodel is missing"):
        promotion.rollback(store, uri, NAME)
    assert aliases(uri)["champion"] == 2
