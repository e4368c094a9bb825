"""A backup of a store and a new home of it: whole, or refused with what is wrong; an interrupted one goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.core.errors import ArtifactError, ConfigError
from tasks.core.services.backup import backup, restore
from tasks.core.store.local import LocalBackend
from tasks.core.store.store import Miss, Store
from tests.tasks.core.plan.test_planner import run


@pytest.fixture(autouse=True)
def nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def kept(home: Path, tmp_path: Path) -> Path:
    """A backup of a home with the artifacts of a toy run, a ref and a file of a model."""
    store = of(home)
    run(store)
    store.set_ref("models/base", {"version": 1}, None)
    (home / "mlflow/artifacts").mkdir(parents=True)
    (home / "mlflow/artifacts/model.bin").write_bytes(b"weights")
    folder = tmp_path / "kept"
    backup(home, store, folder, print)
    return folder


@pytest.fixture
def new(tmp_path: Path) -> Path:
    folder = tmp_path / "new"
    folder.mkdir()
    return folder


def of(home: Path) -> Store:
    return Store(LocalBackend(home / "store", home))


def pooled(folder: Path, data: bytes) -> Path:
    """The file of a backup that holds these bytes."""
    (found,) = [path for path in (folder / "files").glob("??/*") if path.read_bytes() == data]
    return found


def test_all_that_is_named_is_in_the_new_home_with_the_same_bytes(home: Path, kept: Path, new: Path) -> None:
    restore(new, of(new), kept, None, print)
    before, after = ({(m.step, m.key): m.to_json() for m in of(place).manifests()} for place in (home, new))
    assert before == after and len(after) >= 4
    assert [of(new).verify(manifest) for manifest in of(new).manifests()] == [[]] * len(after)
    assert of(new).refs() == of(home).refs() and of(new).refs()["models/base"] == {"version": 1}
    assert (new / "mlflow/artifacts/model.bin").read_bytes() == b"weights"
    assert not list(new.glob(".rest*")) and not (new / "restoring.json").exists()


def test_an_artifact_that_is_damaged_or_goes_meanwhile_is_left_out_and_named(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(of(home))
    (victim,) = of(home).manifests("join")
    file = of(home).local(victim) / "content/all.txt"
    file.write_bytes(file.read_bytes().replace(b"H", b"J"))
    index = backup(home, of(home), tmp_path / "kept", print)
    assert f"join/{victim.key}" not in index["artifacts"] and len(index["artifacts"]) >= 3
    assert f"x join/{victim.key} is left out: " in capsys.readouterr().out


@pytest.mark.parametrize("harm", ["flipped", "gone"])
def test_a_damaged_backup_is_named_by_its_file_and_goes_on_once_that_is_mended(
    home: Path, kept: Path, new: Path, harm: str
) -> None:
    victim = pooled(kept, b"weights")
    victim.write_bytes(b"weighty") if harm == "flipped" else victim.unlink()
    with pytest.raises(ArtifactError, match=f"the backup is .*{victim.name}"):
        restore(new, of(new), kept, None, print)
    assert not (new / "mlflow/artifacts/model.bin").exists()
    victim.write_bytes(b"weights")
    restore(new, of(new), kept, None, print)
    assert (new / "mlflow/artifacts/model.bin").read_bytes() == b"weights"


def test_a_restore_that_was_killed_between_files_and_manifest_goes_on(kept: Path, new: Path) -> None:
    restore(new, of(new), kept, None, print)
    (victim,) = of(new).manifests("train")
    (new / "store/train" / victim.key / "manifest.json").unlink()
    restore(new, of(new), kept, None, print)
    assert not isinstance(of(new).look("train", victim.key), Miss) and of(new).verify(victim) == []


def test_an_interrupted_backup_leaves_the_one_before_whole(
    home: Path, kept: Path, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = json.loads((kept / "backup.json").read_bytes())
    of(home).set_ref("models/base", {"version": 2}, of(home).get_ref("models/base")[1])

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tasks.core.services.backup._artifacts", killed)
        with pytest.raises(KeyboardInterrupt):
            backup(home, of(home), kept, print)
    assert json.loads((kept / "backup.json").read_bytes()) == before
    restore(new, of(new), kept, None, print)
    assert of(new).get_ref("models/base")[0] == {"version": 1}


def test_what_is_there_is_never_written_over(home: Path, kept: Path, new: Path, tmp_path: Path) -> None:
    (new / "other.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds other things"):
        backup(home, of(home), new, print)
    with pytest.raises(ConfigError, match="is no backup"):
        restore(new, of(new), tmp_path / "nothing", None, print)
    of(new).set_ref("models/base", {"version": 9}, None)
    with pytest.raises(ConfigError, match=r"has _refs/models/base.json already"):
        restore(new, of(new), kept, None, print)
    assert of(new).get_ref("models/base")[0] == {"version": 9}
