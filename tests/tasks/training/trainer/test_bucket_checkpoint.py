from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conf.schema.pretrain import PretrainRun
from tasks.core.artifact import hash_file
from tasks.core.errors import ArtifactError
from tasks.core.store.s3_bucket import Bucket
from tasks.training.cluster.bucket_calls import open_bucket
from tasks.training.job import CHECKPOINTS, Shared
from tasks.training.network.device import set_up
from tasks.training.trainer.bucket_checkpoint import BucketCheckpoints
from tasks.training.trainer.checkpoint import COMPLETE, Checkpoints, Damaged
from tasks.training.trainer.training_log import Journal
from tests.s3_server import S3Server
from tests.tasks.pretrain.conftest import job_of

SCRATCH = "c" * 12
Open = Callable[..., BucketCheckpoints]


def record(loss: float | None = None) -> dict[str, Any]:
    return {"losses": {"valid_loss": loss}, "world": 1}


def state(value: float) -> dict[str, torch.Tensor]:
    return {"weights": torch.full((4, 3), value), "rng.0": torch.arange(8, dtype=torch.uint8)}


@pytest.fixture(scope="module")
def group() -> Iterator[None]:
    set_up(PretrainRun(device="cpu", threads=1))
    yield
    dist.destroy_process_group()


@pytest.fixture
def alone() -> None:
    """In place of the one that ends the group after each test."""


@pytest.fixture
def bucket(on_s3: S3Server) -> Bucket:
    return open_bucket()


@pytest.fixture
def opened(group: None, bucket: Bucket, shards: Path, tmp_path: Path) -> Iterator[Open]:
    """The checkpoints of one training as a machine sees them, under an epoch of its lease."""
    made: list[BucketCheckpoints] = []

    def open_on(machine: str = "a", epoch: int = 1, scratch: str = SCRATCH, beside: bool = False) -> BucketCheckpoints:
        job = replace(job_of(shards, tmp_path / machine), shared=Shared("pretrain/key", epoch, scratch, {}))
        files = Journal(job.work, True).files if beside else []
        made.append(BucketCheckpoints(job, lambda step: None, print, files))
        return made[-1]

    yield open_on
    for one in made:
        one.close()


def save(
    checkpoints: Checkpoints, *steps: int, losses: dict[int, float] | None = None, keep: tuple[int, ...] = ()
) -> None:
    for step in steps:
        checkpoints.save(step, state(float(step)), record((losses or {}).get(step)), keep)
    checkpoints.wait()


def loaded(checkpoints: BucketCheckpoints) -> int | None:
    """The step of what is loaded in the end, as the loop does it; None if nothing is left to load."""
    while (folder := checkpoints.latest()) is not None:
        target = state(-1.0)
        try:
            assert checkpoints.load(folder, target)["world"] == 1
            assert torch.equal(target["weights"], torch.full((4, 3), target["weights"][0, 0].item()))
            return int(target["weights"][0, 0])
        except Damaged as error:
            assert torch.equal(target["weights"], state(-1.0)["weights"]), "filled with half of a checkpoint"
            checkpoints.discard(folder, str(error))
    return None


def steps_in(bucket: Bucket) -> set[int]:
    return {int(name.split("/")[-2].removeprefix("step-")) for name in bucket.names("_work/")}


def test_what_one_machine_has_saved_another_loads_in_place(opened: Open) -> None:
    first, live = opened("a"), state(7.0)
    first.save(7, live, record(0.5))
    live["weights"].zero_()  # training goes on while the copy is sent
    first.wait()
    second, target = opened("b", epoch=2), state(0.0)
    found = second.latest()
    assert found is not None
    assert second.load(found, target) == second.record(found) == record(0.5)
    assert torch.equal(target["weights"], torch.full((4, 3), 7.0))
    second.save(7, target, record())
    second.wait()
    assert second.latest() == found, "what is there is not saved again"


def test_the_newest_two_the_best_and_those_asked_for_are_kept(opened: Open, bucket: Bucket) -> None:
    checkpoints = opened()
    save(checkpoints, 1, 2, 3, 4, 5, losses={2: 0.5, 3: 0.9}, keep=(1,))
    assert steps_in(bucket) == {1, 2, 4, 5}
    best, point = checkpoints.best(), checkpoints.of(1)
    assert best is not None and best.name == "step-00000002" and point is not None
    assert {path.name for path in checkpoints.root.glob("*/step-*")} == {"step-00000004", "step-00000005"}
    target = state(0.0)
    checkpoints.load(point, target)
    assert int(target["weights"][0, 0]) == 1, "brought back"


def damage(bucket: Bucket, step: int, how: str) -> None:
    """Do to what is kept of a step what a fault, or somebody who writes the bucket, may have done."""
    names = [name for name in bucket.names("_work/") if f"step-{step:08d}/" in name]
    data = next(name for name in names if name.endswith(".distcp"))
    mark = next(name for name in names if name.endswith(COMPLETE))
    raw, marked = bucket.get(data), bucket.get(mark)
    half = len(raw.data) // 2
    match how:
        case "truncated":
            bucket.put(data, raw.data[:-1], raw.etag)
        case "changed":
            bucket.put(data, raw.data[:half] + bytes([raw.data[half] ^ 1]) + raw.data[half + 1 :], raw.etag)
        case "missing":
            bucket.delete([data])
        case "unmarked":
            bucket.delete([mark])
        case "torn marker":
            bucket.put(mark, marked.data[:-5], marked.etag)
        case "marker of another":
            bucket.put(mark, marked.data.replace(b"step-", b"step-9", 1), marked.etag)
        case "marker that leads out":
            bucket.put(mark, marked.data.replace(b"__0_0", b"../__0_0"), marked.etag)


DAMAGE = ("truncated", "changed", "missing", "unmarked", "torn marker", "marker of another", "marker that leads out")


@pytest.mark.parametrize("how", DAMAGE)
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(opened: Open, bucket: Bucket, how: str) -> None:
    save(opened("a"), 10, 20)
    damage(bucket, 20, how)
    other = opened("b", epoch=2)
    assert loaded(other) == 10
    assert steps_in(bucket) == {10}
    save(other, 20)
    assert loaded(opened("c", epoch=3)) == 20


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([None, *DAMAGE]), min_size=3, max_size=3))
def test_the_newest_that_is_whole_is_loaded_whatever_became_of_the_others(
    opened: Open, bucket: Bucket, found: list[str | None]
) -> None:
    bucket.delete(list(bucket.names("_work/")))
    save(opened("a"), 1, 2, 3, keep=(1,))
    for step, how in enumerate(found, 1):
        if how is not None:
            damage(bucket, step, how)
    whole = [step for step, how in enumerate(found, 1) if how is None]
    assert loaded(opened("b")) == max(whole, default=None)


def test_without_any_that_is_whole_training_begins_with_what_it_had(opened: Open, bucket: Bucket) -> None:
    save(opened("a"), 1)
    damage(bucket, 1, "changed")
    assert loaded(opened("b")) is None and not bucket.names("_work/")


def test_a_holder_that_lost_its_lease_neither_sees_nor_touches_what_a_later_one_has_saved(
    opened: Open, bucket: Bucket
) -> None:
    old = opened("a", epoch=1)
    save(old, 1)
    new = opened("b", epoch=2)
    assert loaded(new) == 1
    save(new, 2, 3)
    theirs = {name for name in bucket.names("_work/") if "/00000002/" in name}
    save(old, 4, 5, 6)
    assert theirs <= bucket.names("_work/").keys()
    assert old.of(3) is None and old.of(6) is not None
    save(new, 7, 8)
    assert steps_in(bucket) == {7, 8}, "and the later one clears up after it"


def test_what_another_scratch_was_the_beginning_of_is_not_gone_on_from(opened: Open, bucket: Bucket) -> None:
    save(opened("a"), 1, 2)
    anew = opened("a", epoch=2, scratch="d" * 12)
    assert loaded(anew) is None and steps_in(bucket) == {1, 2}
    save(anew, 1)
    assert steps_in(bucket) == {1}, "and goes once there is something in its place"


def test_a_group_that_was_killed_while_it_saved_leaves_nothing_that_counts(opened: Open, bucket: Bucket) -> None:
    dead = opened("a")
    save(dead, 1)
    dead._mark = lambda kept: (_ for _ in ()).throw(KeyboardInterrupt())  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        save(dead, 2)
    assert steps_in(bucket) == {1, 2}
    again = opened("a")
    assert loaded(again) == 1 and steps_in(bucket) == {1}
    save(again, 2)
    assert loaded(opened("a")) == 2


def test_what_a_machine_has_written_itself_is_not_brought_back(
    opened: Open, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(opened("a"), 5)
    again, brought = opened("a", epoch=2), list[str]()
    real = again.bucket.download

    def download(jobs: list[Any], staging: Path) -> None:
        brought.extend(Path(name).name for name, _, _ in jobs)
        real(jobs, staging)

    monkeypatch.setattr(again.bucket, "download", download)
    assert loaded(again) == 5 and brought == []
    (own,) = again.root.glob("*/step-00000005/*.distcp")
    os.truncate(own, 3)
    assert loaded(again) == 5 and brought == [own.name]


def test_what_one_node_has_kept_in_its_work_directory_is_gone_on_from(opened: Open, tmp_path: Path) -> None:
    several = opened("a")
    alone = Checkpoints(tmp_path / "a" / "scratch" / CHECKPOINTS, lambda step: None, print)
    save(alone, 3, 6)
    alone.close()
    assert loaded(several) == 6
    assert loaded(opened("b", epoch=2)) == 6, "also by other machines"
    save(several, 9)
    assert loaded(opened("a", epoch=2)) == 9, "the newest counts"


class Exploit:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch '{self.path}'",)


def test_metadata_that_would_run_a_command_is_not_unpickled_though_its_marker_vouches_for_it(
    opened: Open, bucket: Bucket, tmp_path: Path
) -> None:
    save(opened("a"), 3)
    (name,) = (name for name in bucket.names("_work/") if name.endswith(".metadata"))
    evil = tmp_path / "evil"
    evil.write_bytes(pickle.dumps(Exploit(tmp_path / "ran")))
    bucket.put(name, evil.read_bytes(), bucket.get(name).etag)
    mark = name.replace(".metadata", COMPLETE)
    marked = json.loads((found := bucket.get(mark)).data)
    marked["files"] = [entry for entry in marked["files"] if entry[0] != ".metadata"]
    marked["files"].append([".metadata", evil.stat().st_size, hash_file(evil)])
    bucket.put(mark, json.dumps(marked).encode(), found.etag)
    other = opened("b", epoch=2)
    folder = other.latest()
    assert folder is not None
    with pytest.raises(ArtifactError, match="system"):
        other.load(folder, state(0.0))
    assert not (tmp_path / "ran").exists()


def test_what_was_logged_up_to_a_checkpoint_goes_with_it_and_is_not_logged_twice(
    opened: Open, shards: Path, tmp_path: Path
) -> None:
    first, journal = opened("a", beside=True), Journal(job_of(shards, tmp_path / "a").work, True)
    for step in (1, 2, 3):
        journal.row(step, {"loss": float(step)})
    save(first, 3)
    other = Journal(job_of(shards, tmp_path / "b").work, True)
    other.row(1, {"loss": 1.0})
    other.work.metrics_file.open("a").write('{"step": 2, "lo')  # torn when it was mirrored
    second = opened("b", epoch=2, beside=True)
    found = second.latest()
    assert found is not None and second.load(found, state(0.0))
    other.catch_up(second.kept_beside(found))
    other.row(3, {"loss": 3.0})
    other.row(4, {"loss": 4.0})
    rows = [json.loads(line) for line in other.work.metrics_file.read_text().splitlines()]
    assert [(row["step"], row["loss"]) for row in rows] == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.0)]
