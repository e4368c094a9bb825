"""A store that can only be read: what is whole is served, what would have to be made is refused before it begins."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conf.schema.store import LocalStoreConf, S3StoreConf, StoreConf
from tasks.core.errors import Conflict, HostError
from tasks.core.plan.planner import Planner
from tasks.core.step import interpreted_by
from tasks.core.store.open import open_store
from tasks.core.store.store import Store
from tests import toy
from tests.s3_server import S3Server
from tests.toy_process import Toy

TEXTS = ("a=one", "b=two")
Locked = Callable[[Path], None]


@pytest.fixture
def lock_up() -> Iterator[Locked]:
    """Makes a folder one that this user cannot write: by a mount, which binds root too, else by its permissions."""
    mounted: list[Path] = []

    def lock(folder: Path) -> None:
        if os.geteuid() != 0:
            for path in [folder, *folder.rglob("*")]:
                path.chmod(path.stat().st_mode & ~0o222)
            return
        subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
        mounted.append(folder)
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)

    yield lock
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(params=["local", "s3"])
def shared(
    request: pytest.FixtureRequest, tmp_path: Path, prefect_url: str, monkeypatch: pytest.MonkeyPatch
) -> tuple[StoreConf, dict[str, str]]:
    """A store that another user has filled, and what a second one sets who may only read it."""
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    conf: StoreConf
    if request.param == "local":
        conf, reader = LocalStoreConf(kind="local", path=str(tmp_path / "shared")), dict[str, str]()
    else:
        server: S3Server = request.getfixturevalue("s3_server")
        bucket = server.make_bucket(f"only-read-{os.getpid()}")
        conf = S3StoreConf(kind="s3", bucket=bucket, endpoint=server.endpoint, attempts=2)
        for name, value in server.env.items():
            monkeypatch.setenv(name, value)
        reader = {"AWS_ACCESS_KEY_ID": server.reader_key}
    given = {"FROMZERO_STORE": conf.model_dump_json()}
    made = Toy(tmp_path / "first", prefect_url, *TEXTS, **given).wait()
    assert made["state"] == "completed", made
    if isinstance(conf, S3StoreConf):
        store = open_store(conf)
        assert store.unwritable(["make", "make/key"]) is None
        assert not [name for name in store.backend.names("_locks/") if "nobody" in name], "asking writes nothing"
    if isinstance(conf, LocalStoreConf):
        request.getfixturevalue("lock_up")(tmp_path / "shared")
    return conf, given | reader


def planned(store: Store, **texts: str) -> Planner:
    planner = Planner(store)
    with interpreted_by(planner):
        toy.wiring(texts, toy.ToyConf(word="one", run=toy.ToyRun(pause=0.0)))
    return planner


def test_a_second_user_is_served_what_is_whole_and_told_what_cannot_be_made(
    shared: tuple[StoreConf, dict[str, str]], tmp_path: Path, prefect_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    conf, given = shared
    hit = Toy(tmp_path / "second", prefect_url, *TEXTS, **given).wait()
    assert hit["state"] == "completed", hit
    assert set(hit["states"].values()) == {"cached"}
    missed = Toy(tmp_path / "second", prefect_url, "a=one", "b=three", **given).wait()
    where = conf.path if isinstance(conf, LocalStoreConf) else conf.bucket
    assert "HostError" in missed["error"] and "can only be read" in missed["error"] and str(where) in missed["error"]
    assert "store.path" in missed["error"]
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("FROMZERO_HOME", str(tmp_path / "second"))
    assert planned(open_store(conf), a="one", b="two").unwritable() is None
    why = planned(open_store(conf), a="one", b="three").unwritable()
    assert why is not None and "cannot be made here, first make: the store" in why and "can only be read" in why


def test_a_store_that_can_be_written_is_not_called_read_only(tmp_path: Path) -> None:
    store = open_store(LocalStoreConf(kind="local", path=str(tmp_path / "new" / "store")))
    names = ["step", "step/key", "_refs/a", "_effects/promote"]
    assert store.unwritable(names) is None
    store.lock("step/key").release()
    store.set_ref("a", {}, None)
    assert store.unwritable(names) is None


def test_one_folder_that_another_user_has_made_is_named(tmp_path: Path, lock_up: Locked) -> None:
    """The store's top may be written by all, a step's folder in it by its maker only."""
    store = open_store(LocalStoreConf(kind="local", path=str(tmp_path)))
    (tmp_path / "_locks" / "theirs").mkdir(parents=True)
    lock_up(tmp_path / "_locks" / "theirs")
    assert store.unwritable(["ours", "ours/key"]) is None
    assert f"{tmp_path}/_locks/theirs" in str(store.unwritable(["ours", "theirs/key"]))
    with pytest.raises(HostError, match="can only be read"):
        store.lock("theirs/key")
    with store.lock("theirs/key", done=lambda: True) as lease:
        assert lease.held() and lease.fds == ()
    with store.lock("ours/key"), pytest.raises(Conflict):
        store.lock("ours/key", 0.0, lambda: True)
