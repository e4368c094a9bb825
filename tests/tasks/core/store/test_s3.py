"""The store on S3: what a machine keeps of it, and work directories that go from machine to machine."""

from __future__ import annotations

import os
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conf.schema.store import S3StoreConf
from tasks.core.artifact import FileEntry
from tasks.core.errors import ArtifactError, Conflict
from tasks.core.store.s3 import S3Backend
from tests.tasks.core.backends import MB, S3Place, publish, some_file

KEY = "a" * 64


def test_other_bytes_in_the_bucket_are_never_handed_out(s3_place: S3Place) -> None:
    made = publish(s3_place, KEY)
    s3_place.put(f"clean/{KEY}/{made.attempt}/content/docs.txt", b"onE\n")
    with pytest.raises(ArtifactError, match=r"content/docs\.txt .*has other bytes than when it was made"):
        s3_place.elsewhere("machine").store().artifact(made)
    assert not list((s3_place.home / "machine").rglob("docs.txt"))


def test_what_was_made_here_is_not_brought_again(s3_place: S3Place) -> None:
    made = publish(s3_place, KEY)
    client = s3_place.backend().bucket.client
    client.delete_object(Bucket="tests", Key=f"{s3_place.prefix}/clean/{KEY}/{made.attempt}/content/docs.txt")
    assert (s3_place.store().artifact(made) / "docs.txt").read_text() == "one\n"
    with pytest.raises(ArtifactError, match=r"docs\.txt is not in .*; run again"):
        s3_place.elsewhere("machine").store().artifact(made)


@pytest.mark.parametrize("left", [b"", b"on", None])
def test_a_cached_file_of_another_size_is_brought_again(s3_place: S3Place, left: bytes | None) -> None:
    made = publish(s3_place, KEY)
    cached = s3_place.store().artifact(made) / "docs.txt"
    cached.unlink() if left is None else cached.write_bytes(left)
    assert (s3_place.store().artifact(made) / "docs.txt").read_text() == "one\n"


def test_a_cached_file_of_other_bytes_is_brought_again(s3_place: S3Place) -> None:
    made = publish(s3_place, KEY)
    cached = s3_place.store().artifact(made) / "docs.txt"
    cached.write_bytes(b"\0\0\0\0")
    assert (s3_place.store().artifact(made) / "docs.txt").read_text() == "one\n"


def test_many_threads_bring_one_artifact_at_once(s3_place: S3Place) -> None:
    made = publish(s3_place, KEY, "x" * 100_000)
    store = s3_place.elsewhere("machine").store()
    errors: list[BaseException] = []

    def bring() -> None:
        try:
            store.artifact(made)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=bring) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and store.verify(made) == []


def test_the_options_are_the_arguments_of_the_backend(tmp_path: Path) -> None:
    conf = S3StoreConf(kind="s3", bucket="models", prefix="/a/b/", endpoint="http://localhost:1", lease_seconds=45.0)
    backend = S3Backend.from_conf(conf, tmp_path)
    assert (backend.bucket.name, backend.bucket.prefix, backend.lease_seconds) == ("models", "a/b/", 45.0)
    assert backend.home == tmp_path and backend.bucket.part == conf.part_mb * MB


# work directories


def hold(place: S3Place) -> tuple[S3Backend, Any, Any]:
    backend: S3Backend = place.backend()
    lease = backend.lock("train/key", timeout=300)
    work = backend.open_work("train/key", lease)
    work.make()
    return backend, lease, work


def scratch(work: Any) -> dict[str, bytes]:
    return {str(p.relative_to(work.scratch)): p.read_bytes() for p in work.scratch.rglob("*") if p.is_file()}


def lose(lease: Any) -> None:
    """Let a lease run out as if its process had been asleep."""
    lease._done.set()
    lease._thread.join()


def test_a_stale_holder_does_not_disturb_the_next_one(s3_place: S3Place) -> None:
    old, old_lease, old_work = hold(replace(s3_place, lease_seconds=6.0))
    (old_work.scratch / "checkpoint").write_bytes(b"old 1")
    old.save_work("train/key", old_work, old_lease)
    lose(old_lease)
    new, new_lease, new_work = hold(s3_place.elsewhere("machine"))
    assert new_lease.epoch == old_lease.epoch + 1 and scratch(new_work) == {"checkpoint": b"old 1"}
    (new_work.scratch / "checkpoint").write_bytes(b"new")
    new.save_work("train/key", new_work, new_lease)
    assert not old_lease.held()
    (old_work.scratch / "checkpoint").write_bytes(b"old 2")
    with pytest.raises(Conflict, match="another run goes on"):
        old.save_work("train/key", old_work, old_lease)
    old_lease.held = lambda: True  # one that does not know it yet
    old.save_work("train/key", old_work, old_lease)
    new_lease.release()
    _, lease, work = hold(s3_place.elsewhere("third"))
    assert scratch(work) == {"checkpoint": b"new"}
    lease.release()
    old_lease.release()


def test_a_save_that_was_killed_half_way_leaves_the_one_before(
    s3_place: S3Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, lease, work = hold(s3_place)
    (work.scratch / "log").write_bytes(b"1")
    (work.scratch / "model").write_bytes(b"w1")
    backend.save_work("train/key", work, lease)
    (work.scratch / "log").write_bytes(b"12")
    (work.scratch / "model").write_bytes(b"w2")

    def die(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(backend, "write", die)
    with pytest.raises(KeyboardInterrupt):
        backend.save_work("train/key", work, lease)
    lease.release()
    _, other, found = hold(s3_place.elsewhere("machine"))
    assert scratch(found) == {"log": b"1", "model": b"w1"}
    other.release()


def test_a_mirror_that_lost_a_file_gives_way_to_an_older_one(s3_place: S3Place) -> None:
    backend, lease, work = hold(s3_place)
    (work.scratch / "model").write_bytes(b"w1")
    backend.save_work("train/key", work, lease)
    first = {name: backend.read(name)[0] for name in backend.names("_work/")}
    lease.release()
    backend, lease, work = hold(s3_place.elsewhere("machine"))
    (work.scratch / "model").write_bytes(b"w2")
    backend.save_work("train/key", work, lease)
    lost = next(name for name in backend.names("_work/") if not name.endswith("index.json"))
    for name, data in first.items():
        s3_place.put(name, data)
    s3_place.delete(lost)
    lease.release()
    _, lease, work = hold(s3_place.elsewhere("third"))
    assert scratch(work) == {"model": b"w1"}
    lease.release()


def test_local_scratch_that_is_further_than_the_mirror_is_kept(s3_place: S3Place) -> None:
    backend, lease, work = hold(s3_place)
    work.progress = 10
    backend.save_work("train/key", work, lease)
    work.progress = 20
    lease.release()
    _, lease, work = hold(s3_place)
    assert work.progress == 20
    lease.release()
    backend, lease, work = hold(s3_place.elsewhere("machine"))
    assert work.progress == 10
    work.progress = 30
    backend.save_work("train/key", work, lease)
    lease.release()
    _, lease, work = hold(s3_place)
    assert work.progress == 30
    lease.release()


def test_only_files_that_changed_are_sent_again_and_old_ones_are_removed(
    s3_place: S3Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, lease, work = hold(s3_place)
    some_file(work.scratch, "step-1/model.bin", 6 * MB)
    (work.scratch / "log").write_bytes(b"1")
    backend.save_work("train/key", work, lease)
    sent: list[str] = []
    real = backend.bucket.upload

    def upload(jobs: list[tuple[Path, str, FileEntry]]) -> None:
        sent.extend(entry.path for _, _, entry in jobs)
        real(jobs)

    monkeypatch.setattr(backend.bucket, "upload", upload)
    (work.scratch / "log").write_bytes(b"12")
    backend.save_work("train/key", work, lease)
    assert sent == ["log"] and len(backend.names("_work/")) == 3
    (work.scratch / "step-1/model.bin").unlink()
    backend.save_work("train/key", work, lease)
    assert sent == ["log"] and len(backend.names("_work/")) == 2
    lease.release()


def test_what_a_body_keeps_in_folders_of_its_own_is_left_alone_by_the_mirror_and_goes_with_the_work_directory(
    s3_place: S3Place,
) -> None:
    backend, lease, work = hold(s3_place)
    own = f"_work/train/key/{lease.epoch:08d}/checkpoints/group/step-00000001/part"
    for name in (own, "_work/train/key/call.json"):
        s3_place.put(name, b"one")
    (work.scratch / "log").write_bytes(b"1")
    backend.save_work("train/key", work, lease)
    (work.scratch / "log").write_bytes(b"12")
    backend.save_work("train/key", work, lease)
    assert {own, "_work/train/key/call.json"} < backend.names("_work/").keys() and len(backend.names("_work/")) == 4
    assert backend.bucket.folders("_work/train/") == ["_work/train/key/"]
    backend.close_work("train/key")
    assert not backend.names("_work/")
    lease.release()


def test_files_that_come_go_and_grow_while_they_are_copied_do_no_harm(s3_place: S3Place) -> None:
    backend, lease, work = hold(s3_place)
    (work.scratch / "steady").write_bytes(b"steady")
    done = threading.Event()

    def churn() -> None:
        number = 0
        while not done.is_set():
            number += 1
            passing = work.scratch / f"passing-{number % 3}"
            passing.write_bytes(os.urandom(2000))
            deep = work.scratch / f"step-{number}/a/b"
            deep.mkdir(parents=True)
            (deep / "model.bin").write_bytes(b"w")
            shutil.rmtree(work.scratch / f"step-{number}")
            with (work.scratch / "log").open("ab") as log:
                log.write(b"a line\n")
            if number % 2:
                passing.unlink()

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        while not (work.scratch / "log").exists():
            time.sleep(0.001)
        for _ in range(3):
            backend.save_work("train/key", work, lease)
    finally:
        done.set()
        thread.join()
    lease.release()
    _, lease, found = hold(s3_place.elsewhere("machine"))
    copied = scratch(found)
    assert copied["steady"] == b"steady" and (work.scratch / "log").read_bytes().startswith(copied["log"])
    lease.release()
