"""Whoever changes a stored or registered byte: nothing is made, registered, promoted, served or compared from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conf.schema.engine import EngineConf
from conf.schema.release import RegisterConf
from tasks.core.artifact import Artifact, Manifest, sha256
from tasks.core.engine.placing import Placing
from tasks.core.engine.workspace import Workspace
from tasks.core.errors import ArtifactError, Refused
from tasks.core.store.local import LocalBackend
from tasks.core.store.store import Miss, Store
from tasks.core.workdir import Workdir
from tasks.register import promotion, registry
from tasks.register.steps import (
    damaged,
    find_registered,
    generate,
    measured,
    promote,
    promote_model,
    register_model,
    starting_point,
    weights_of,
)
from tests.tasks.core.backends import draft
from tests.tasks.register.conftest import FakeStore, Publish

WEIGHTS = "artifacts/model/model.safetensors"
Register = Callable[..., dict[str, Any]]


def flip(path: Path, at: int = -1) -> None:
    """Change one byte; size and time stay."""
    times = path.stat()
    with path.open("r+b") as file:
        file.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def made(store: Store, folder: Path, key: str = "k" * 64) -> Manifest:
    """A small model, as a step publishes it."""
    work = Workdir(folder)
    work.make()
    (work / "model/model.safetensors").write_bytes(os.urandom(1 << 17))
    (work / "model/config.json").write_text("{}")
    return store.publish(work, draft("pretrain", key))


@pytest.fixture
def kept(tmp_path: Path) -> Store:
    (tmp_path / "home").mkdir()
    return Store(LocalBackend(tmp_path / "home" / "store", tmp_path / "home"))


def file_of(store: Store, manifest: Manifest, path: str) -> Path:
    backend = store.backend
    assert isinstance(backend, LocalBackend)
    return backend.root / manifest.step / manifest.key / manifest.attempt / path


@pytest.mark.parametrize("path", ["content/model/model.safetensors", "content/model/config.json"])
def test_one_flipped_byte_makes_a_hit_a_miss_in_a_run_and_is_made_again(kept: Store, tmp_path: Path, path: str) -> None:
    from tasks.core.engine.prefect_engine import Engine

    manifest = made(kept, tmp_path / "first")
    engine = Engine(kept, tmp_path / "home", EngineConf(), SimpleNamespace(line=print))  # type: ignore[arg-type]
    name = f"{manifest.step}/{manifest.key}"
    assert engine.records.read_path(name)
    flip(file_of(kept, manifest, path))
    with pytest.raises(FileNotFoundError, match=f"{path} has other bytes than when it was made"):
        engine.records.read_path(name)
    again = made(kept, tmp_path / "second")
    assert again.attempt != manifest.attempt, "the damaged one was adopted"
    assert engine.whole(name) == again


def test_a_step_is_never_given_damaged_files_and_their_artifact_is_no_hit_any_more(kept: Store, tmp_path: Path) -> None:
    manifest = made(kept, tmp_path / "work")
    flip(file_of(kept, manifest, "content/model/model.safetensors"))
    workspace = Workspace(kept, print, Placing())
    with pytest.raises(ArtifactError, match="is damaged and was removed"):
        workspace.brought((Artifact.of(manifest).part("model"),))
    assert isinstance(kept.look(manifest.step, manifest.key), Miss)


@pytest.mark.parametrize("change", [{"stats": {"accepted": True}}, {"shard": "other"}, {"made_by": {"git": "clean"}}])
def test_a_manifest_that_says_something_else_than_when_it_was_written_is_broken(
    kept: Store, tmp_path: Path, change: dict[str, Any]
) -> None:
    manifest = made(kept, tmp_path / "work")
    path = file_of(kept, manifest, "content").parents[1] / "manifest.json"
    raw = json.loads(path.read_text())
    path.write_text(json.dumps(raw | change))
    found = kept.look(manifest.step, manifest.key)
    assert isinstance(found, Miss) and found.broken and "changed after it was written" in found.reason


def test_a_manifest_from_before_they_were_sealed_is_read(kept: Store, tmp_path: Path) -> None:
    manifest = made(kept, tmp_path / "work")
    path = file_of(kept, manifest, "content").parents[1] / "manifest.json"
    raw = json.loads(path.read_text())
    del raw["seal"]
    path.write_text(json.dumps(raw))
    assert kept.check(manifest.step, manifest.key) == manifest


def test_a_step_cannot_publish_a_link(kept: Store, tmp_path: Path) -> None:
    for name, target in (("file", tmp_path / "secret"), ("folder", tmp_path)):
        (tmp_path / "secret").write_text("secret")
        work = Workdir(tmp_path / name)
        work.make()
        (work / "model/link").symlink_to(target)
        with pytest.raises(Exception, match="is a link"):
            kept.publish(work, draft("pretrain", sha256(name)))


def test_a_file_that_was_replaced_by_a_link_to_the_same_bytes_is_damage(kept: Store, tmp_path: Path) -> None:
    manifest = made(kept, tmp_path / "work")
    path = file_of(kept, manifest, "content/model/config.json")
    (tmp_path / "elsewhere").write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(tmp_path / "elsewhere")
    found = kept.check(manifest.step, manifest.key)
    assert isinstance(found, Miss) and "is a link" in found.reason


@pytest.fixture
def register(
    uri: str, store: FakeStore, work: Workdir, tiny: Path, publish: Publish, evaluation: Artifact, base: RegisterConf
) -> Register:
    model = publish("pretrain", "model", tiny)

    def made() -> dict[str, Any]:
        return register_model.function(model, evaluation, conf=base, work=work)

    return made


def folder_of(uri: str, name: str) -> Path:
    return Path(registry.versions(uri, name)[-1].location)


def plant(folder: Path) -> None:
    (folder / "artifacts/model/own_classifier.py").write_text("raise SystemExit('a stranger ran')")


SWAPS: dict[str, Callable[[Path], None]] = {
    "weights": lambda folder: flip(folder / WEIGHTS),
    "config": lambda folder: flip(folder / "artifacts/model/config.json", 20),
    "code": lambda folder: flip(folder / "pyfunc.py"),
    "added": plant,
}


@pytest.mark.parametrize("what", SWAPS)
def test_a_registered_version_whose_files_were_swapped_is_refused_wherever_it_is_used(
    uri: str, store: FakeStore, register: Register, base: RegisterConf, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered = register()
    ref = f"{base.name}@{registered['version']}"
    assert generate(ref, "array", 2, 0.0, 0) is not None
    assert dict(damaged()) == {ref: []}
    SWAPS[what](folder_of(uri, base.name))
    said = "has other bytes than when it was registered|was not registered"
    with pytest.raises(ArtifactError, match=said):
        generate(ref, "array", 2, 0.0, 0)
    with pytest.raises(ArtifactError, match=said):
        promote(store, base.name, registered["version"], "because", force=True)
    with pytest.raises(ArtifactError, match=said):
        measured(ref)
    with pytest.raises(ArtifactError, match=said):
        starting_point(f"models:/{ref.replace('@', '/')}")
    monkeypatch.setattr(store, "look", lambda step, key: Miss("not made yet"))
    with pytest.raises(ArtifactError, match=said):
        weights_of({"name": base.name, "version": registered["version"]})
    assert any(dict(damaged()).values())
    assert register()["version"] == registered["version"] + 1, "the swapped one was taken for the model"


def test_a_version_from_before_hashes_were_kept_is_known_by_the_digest_of_its_weights(
    uri: str, register: Register, base: RegisterConf
) -> None:
    from mlflow import MlflowClient

    registered = register()
    (version,) = registry.versions(uri, base.name)
    sizes = {path: size for path, (size, _) in json.loads(version.tags["fromzero.files"]).items()}
    MlflowClient(uri, uri).set_model_version_tag(base.name, "1", "fromzero.files", json.dumps(sizes))
    assert generate(f"{base.name}@{registered['version']}", "array", 2, 0.0, 0) is not None
    flip(folder_of(uri, base.name) / WEIGHTS)
    with pytest.raises(ArtifactError, match="has other bytes than when it was registered"):
        generate(f"{base.name}@{registered['version']}", "array", 2, 0.0, 0)


def test_weights_that_were_damaged_after_they_were_hashed_are_not_registered(
    uri: str, store: FakeStore, work: Workdir, tiny: Path, publish: Publish, evaluation: Artifact, base: RegisterConf
) -> None:
    model = publish("pretrain", "model", tiny)
    flip(model / "model.safetensors")
    with pytest.raises(ArtifactError, match=r"model\.safetensors has other bytes than when it was made"):
        register_model.function(model, evaluation, conf=base, work=work)
    assert registry.versions(uri, base.name) == []
    assert find_registered(model, evaluation, conf=base) is None


def test_what_mlflow_loads_refuses_files_that_were_swapped(uri: str, register: Register, base: RegisterConf) -> None:
    register()
    flip(folder_of(uri, base.name) / WEIGHTS)
    code = "import sys, mlflow; mlflow.set_tracking_uri(sys.argv[1]); mlflow.pyfunc.load_model(sys.argv[2])"
    command = [sys.executable, "-c", code, uri, f"models:/{base.name}/1"]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True)
    assert done.returncode != 0 and "has other bytes than when it was registered" in done.stderr


def test_bytecode_beside_a_head_of_our_own_is_never_run(
    uri: str, store: FakeStore, work: Workdir, tiny_classifier: Path, publish: Publish, evaluation: Artifact
) -> None:
    import py_compile

    from tasks.register.steps import predict

    conf = RegisterConf(name="labels", kind="classifier")
    model = publish("finetune_classifier", "model", tiny_classifier)
    (head,) = (model.path).glob("*_classifier.py")
    register_model.function(model, evaluation, conf=conf, work=work)
    own = folder_of(uri, "labels") / "artifacts/model" / head.name
    stranger = own.with_name("stranger.py")
    stranger.write_text("raise RuntimeError('a stranger ran')")
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    cached = own.parent / "__pycache__" / f"{own.stem}.{sys.implementation.cache_tag}.pyc"
    py_compile.compile(str(stranger), str(cached), invalidation_mode=mode)
    stranger.unlink()
    assert predict("labels@1", ["array"])


def test_the_gates_word_is_read_from_what_its_digest_covers(
    uri: str, store: FakeStore, register: Register, publish: Publish, base: RegisterConf, work: Workdir
) -> None:
    registered = register()
    refused = publish("gate", None, None, accepted=False, reasons=["it is worse"])
    claimed = replace(refused, stats={"accepted": True, "rule": "superior"})
    with pytest.raises(Refused, match="it is worse"):
        promote_model.function(registered, None, claimed, conf=base, work=work)
    assert registry.champion(uri, base.name) is None
    assert promotion.history(store, base.name) == []
