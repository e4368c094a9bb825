"""What is remembered of documents that were taken down, and whom it concerns."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import ConfigError, Conflict
from tasks.core.store.local import LocalBackend
from tasks.core.store.store import Store
from tasks.corpus import takedown


@dataclass(frozen=True)
class Docs:
    """As much of an artifact as is looked at."""

    digest: str


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(LocalBackend(tmp_path))


def document(id_: str) -> dict[str, str]:
    return {"id": id_, "source": "mine", "uri": f"mine/{id_}"}


def told(store: Store, *digests: str) -> list[tuple[str, ...]]:
    """The ids that artifacts with these digests are to go without."""
    memory = store.get_ref(takedown.REF)[0]
    ids, after = takedown.concerning([Docs(digest) for digest in digests], memory)
    assert after == memory, "a run leaves the memory as it was"
    return ids


def test_only_what_holds_a_document_is_told_and_what_nobody_looked_into(store: Store) -> None:
    assert told(store, "d1") == [()]
    takedown.record(store, [document("a")], {"a": ["d1"]}, ["d1", "d2"])
    assert told(store, "d1", "d2", "new") == [("a",), (), ("a",)]
    assert takedown.concerning([object()], store.get_ref(takedown.REF)[0])[0] == [()], "what is not made yet"


def test_what_an_artifact_is_told_stays_the_same_when_documents_elsewhere_are_taken_down(store: Store) -> None:
    takedown.record(store, [document("a")], {"a": ["d1"]}, ["d1", "d2"])
    takedown.record(store, [document("b")], {"b": ["d2"]}, ["d1", "d2", "new"])
    assert told(store, "d1", "d2", "new") == [("a",), ("b",), ("a",)]
    takedown.record(store, [document("c")], {"c": []}, ["d1", "new"])
    assert told(store, "d1", "new") == [("a",), ("a",)]
    assert told(store, "d2") == [("a", "b", "c")], "it was gone when c was looked for, so it is told of all"


def test_a_document_comes_back_and_may_be_taken_down_again(store: Store) -> None:
    takedown.record(store, [document("aa"), document("ab")], {"aa": ["d1"], "ab": ["d1"]}, ["d1"])
    takedown.record(store, [document("aa")], {"aa": ["d1"]}, ["d1"])
    assert [one["id"] for one in takedown.in_force(store.get_ref(takedown.REF)[0])] == ["aa", "ab"]
    assert [one["id"] for one in takedown.undo(store, "mine/aa")] == ["aa"]
    assert told(store, "d1") == [("ab",)]
    for doc in ("mine/aa", "ab"):
        with pytest.raises(ConfigError, match=f"'{doc}' is not taken down; `fromzero takedown` lists"):
            takedown.undo(store, doc)
    takedown.record(store, [document("aa")], {"aa": ["d1"]}, ["d1"])
    assert told(store, "d1") == [("aa", "ab")]
    takedown.record(store, [document("ac") | {"uri": "w.warc!http://x/a#7"}], {"ac": ["d1"]}, ["d1"])
    assert [one["id"] for one in takedown.undo(store, "http://x/a")] == ["ac"]


def test_of_two_at_once_none_is_lost(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    real, raced = store.set_ref, []

    def racing(name: str, value: dict[str, Any], etag: str | None) -> str:
        if not raced:
            raced.append(True)
            takedown.record(store, [document("b")], {"b": ["d2"]}, ["d1", "d2"])
            raise Conflict(name)
        return real(name, value, etag)

    monkeypatch.setattr(store, "set_ref", racing)
    takedown.record(store, [document("a")], {"a": ["d1"]}, ["d1", "d2"])
    assert told(store, "d1", "d2") == [("a",), ("b",)]
