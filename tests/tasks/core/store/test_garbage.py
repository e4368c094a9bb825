"""Lineage and garbage over the toy flow's artifacts, made in this process."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from tasks.core.artifact import Manifest
from tasks.core.errors import ArtifactError
from tasks.core.store import garbage
from tasks.core.store.local import LocalBackend
from tasks.core.store.store import Store
from tasks.views.lineage import ancestry
from tasks.views.terminal.artifact_lines import lineage, show
from tests.tasks.core.plan.test_planner import TEXTS, run


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(LocalBackend(tmp_path))
    run(made)
    return made


def only(store: Store, step: str) -> Manifest:
    """The one artifact of a step."""
    (found,) = store.manifests(step)
    return found


def test_lineage_reaches_the_sources_and_marks_what_is_gone(store: Store) -> None:
    tree = ancestry(store, only(store, "train"))
    (joined,) = tree["inputs"]
    assert [leaf["step"] for shout in joined["inputs"] for leaf in shout["inputs"]] == ["make", "make"]
    store.forget("make", joined["inputs"][0]["inputs"][0]["key"])
    lines = list(lineage(ancestry(store, only(store, "train"))))
    assert sum("not in the store any more" in line for line in lines) == 1
    assert lines[0].startswith("train ") and lines[1].startswith("  join ")


def test_show_lists_statistics_files_and_lines(store: Store) -> None:
    text = "\n".join(show(store, only(store, "join"), 5, None, rejects=False))
    assert '"parts": 2' in text and "content/all.txt" in text and "HELLO" in text
    with pytest.raises(ArtifactError, match="has no part 'no'; it has: none"):
        list(show(store, only(store, "join"), 5, "no", rejects=False))


def test_verify_finds_a_flipped_byte_that_the_size_does_not_show(store: Store) -> None:
    victim = only(store, "join")
    path = store.local(victim) / "content/all.txt"
    path.write_bytes(path.read_bytes().replace(b"H", b"J"))
    found = dict(garbage.verify(store, store.manifests()))
    assert sum(found.values()) == 1
    assert any("content/all.txt has other bytes" in line for line in found)


def test_a_truncated_file_is_listed_as_broken(store: Store) -> None:
    victim = only(store, "join")
    (store.local(victim) / "content/all.txt").write_text("")
    (line,) = garbage.broken(store)
    assert line.startswith(f"join/{victim.key[:12]}: content/all.txt has 0 bytes")


def gone(store: Store, **how: object) -> set[str]:
    """Steps of which garbage collection removes something."""
    before = {m.step for m in store.manifests()}
    options = {"kept": (), "keep_runs": 3, "days": 0.0, "dry_run": False, **how}
    list(garbage.garbage(store, **options))  # type: ignore[arg-type]
    return before - {m.step for m in store.manifests()}


def test_garbage_is_what_no_ref_run_or_model_needs(store: Store) -> None:
    trained, joined = only(store, "train"), only(store, "join")
    assert gone(store, kept=[f"train/{trained.key}"]) == set(), "what it was made from is needed too"
    assert gone(store, dry_run=True) == set()
    store.record_run("1", {"recipe": "toy", "steps": [{"step": "join", "key": joined.key}]})
    assert gone(store) == {"train"}
    store.record_run("2", {"recipe": "toy", "steps": []})
    assert gone(store, keep_runs=1) == {"make", "shout", "join"}


def test_a_ref_keeps_what_it_names_and_an_open_lease_keeps_its_key(store: Store) -> None:
    joined = only(store, "join")
    store.set_ref("pin/toy", {"result": {"step": "join", "key": joined.key}}, None)
    with store.lock(f"train/{only(store, 'train').key}"):
        assert gone(store) == set()
    assert gone(store) == {"train"}


def test_young_artifacts_stay_and_old_leftovers_go(store: Store) -> None:
    assert gone(store, days=100_000.0) == set()
    left = store.local(only(store, "join")).parent / "halfmade" / "content"
    work = Path(store.local(only(store, "join"))).parents[2] / "_work/join/abc/scratch"
    for folder in (left, work):
        folder.mkdir(parents=True)
        (folder / "file").write_text(json.dumps(TEXTS))
        os.utime(folder / "file", (time.time() - 40 * 86400,) * 2)
    assert gone(store, days=30.0, kept=[f"train/{only(store, 'train').key}"]) == set()
    assert not left.exists() and not work.exists()
