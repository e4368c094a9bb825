"""What a store promises, on a local folder and on S3 alike."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tasks.core.artifact import Manifest, digest_of
from tasks.core.errors import ArtifactError, ConfigError, Conflict
from tasks.core.store import lease as leases
from tasks.core.store.local import LocalBackend
from tasks.core.store.open import open_store
from tasks.core.store.store import Miss
from tests.tasks.core.backends import CROWD, Crowd, Place, draft, publish

KEY, OTHER = "a" * 64, "b" * 64


def whole(found: Manifest | Miss) -> Manifest:
    assert isinstance(found, Manifest), found
    return found


def broken(found: Manifest | Miss) -> str:
    assert isinstance(found, Miss) and found.broken, found
    return found.reason


def problems(place: Place, manifest: Manifest) -> str:
    try:
        return "; ".join(place.store().verify(manifest))
    except ArtifactError as error:
        return str(error)


# artifacts


def test_a_published_artifact_is_found_with_its_files_and_stats(place: Place) -> None:
    made = publish(place, KEY)
    found = whole(place.store().look("clean", KEY))
    artifact = place.store().artifact(found)
    assert found == made and found.stats == {"rows": 1}
    assert (artifact / "docs.txt").read_text() == "one\n"
    assert (artifact.part("train") / "part.txt").read_text() == "one\n for training"
    assert (artifact.aux / "seconds.txt").read_text() == "12"
    assert place.store().verify(found) == []


def test_another_machine_finds_the_same_artifact(place: Place) -> None:
    made = publish(place, KEY)
    there = place.elsewhere("machine").store()
    artifact = there.artifact(whole(there.look("clean", KEY)))
    assert (artifact / "docs.txt").read_text() == "one\n" and artifact.aux.is_dir()
    assert artifact.digest == made.digest == digest_of(made.files)


def test_an_artifact_without_any_files_is_whole(place: Place) -> None:
    place.store().publish(place.workdir("empty"), draft("clean", KEY))
    there = place.elsewhere("machine").store()
    assert there.artifact(whole(there.look("clean", KEY))).path.is_dir()


def test_file_names_and_contents_of_any_kind_come_back(place: Place) -> None:
    work = place.workdir("odd")
    contents = {"a b&c+d.txt": b"1", "ü%20/π.txt": b"\0\xff", "x": b"", "x.d/y/z": b"\r\n", "=?#[1].bin": bytes(70000)}
    for name, data in contents.items():
        (work / name).write_bytes(data)
    place.store().publish(work, draft("clean", KEY))
    there = place.elsewhere("machine").store()
    artifact = there.artifact(whole(there.look("clean", KEY)))
    assert {name: (artifact / name).read_bytes() for name in contents} == contents


def test_what_lies_under_aux_does_not_change_the_digest(place: Place) -> None:
    first = publish(place, KEY)
    work = place.workdir("again")
    (work / "docs.txt").write_text("one\n")
    (work / "train/part.txt").write_text("one\n for training")
    (work.aux / "seconds.txt").write_text("99")
    assert place.store().publish(work, draft("clean", OTHER)).digest == first.digest


def test_a_key_that_nobody_made_is_a_miss(place: Place) -> None:
    assert place.store().look("clean", KEY) == Miss("not made yet")


def test_files_without_a_manifest_are_no_artifact(place: Place) -> None:
    made = publish(place, KEY)
    place.delete(f"clean/{KEY}/manifest.json")
    assert place.store().look("clean", KEY) == Miss("not made yet")
    assert f"clean/{KEY}/{made.attempt}/content/docs.txt" in place.store().listing("clean")


def test_a_deleted_file_is_a_miss_that_names_it(place: Place) -> None:
    made = publish(place, KEY)
    place.delete(f"clean/{KEY}/{made.attempt}/content/docs.txt")
    assert "content/docs.txt is missing" in broken(place.store().look("clean", KEY))


def test_a_truncated_file_is_a_miss_that_names_it(place: Place) -> None:
    made = publish(place, KEY)
    place.put(f"clean/{KEY}/{made.attempt}/content/docs.txt", b"on")
    assert "content/docs.txt has 2 bytes, not 4" in broken(place.store().look("clean", KEY))


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"step": "clean"}', b"\xff"])
def test_a_damaged_manifest_is_a_miss_and_is_replaced(place: Place, text: bytes) -> None:
    publish(place, KEY)
    place.put(f"clean/{KEY}/manifest.json", text)
    assert "not a valid manifest" in broken(place.store().look("clean", KEY))
    again = publish(place, KEY, "two\n")
    assert whole(place.store().look("clean", KEY)) == again


def test_a_manifest_that_was_edited_is_a_miss(place: Place) -> None:
    made = publish(place, KEY)
    raw = json.loads(made.to_json())
    raw["files"][1]["sha256"] = "0" * 64
    place.put(f"clean/{KEY}/manifest.json", json.dumps(raw).encode())
    broken(place.store().look("clean", KEY))


def test_a_manifest_of_another_key_is_a_miss(place: Place) -> None:
    made = publish(place, KEY)
    place.put(f"clean/{OTHER}/manifest.json", made.to_json())
    assert "belongs to" in broken(place.store().look("clean", OTHER))


def test_an_artifact_with_a_lost_file_is_made_again_by_the_next_maker(place: Place) -> None:
    made = publish(place, KEY)
    place.delete(f"clean/{KEY}/{made.attempt}/content/docs.txt")
    again = publish(place, KEY)
    assert again.attempt != made.attempt and place.store().verify(again) == []


def test_a_later_maker_adopts_the_first_ones_manifest_and_leaves_nothing(place: Place) -> None:
    first = publish(place, KEY, "first\n")
    later = publish(place, KEY, "second\n")
    assert later == first
    attempts = {name.split("/")[2] for name in place.store().listing("clean")}
    assert attempts == {first.attempt, "manifest.json"}
    assert (place.store().artifact(later) / "docs.txt").read_text() == "first\n"


def test_a_whole_artifact_is_replaced_only_over_the_one_that_was_seen(place: Place) -> None:
    first = publish(place, KEY, "first\n")
    second = publish(place, KEY, "second\n", over=first)
    assert second.attempt != first.attempt
    assert publish(place, KEY, "third\n", over=first) == second


def test_verify_names_the_file_with_flipped_bytes(place: Place) -> None:
    made = publish(place, KEY)
    place.put(f"clean/{KEY}/{made.attempt}/content/docs.txt", b"onE\n")
    assert isinstance(place.store().look("clean", KEY), Manifest)
    assert "content/docs.txt" in problems(place, made)


def test_verify_names_the_file_that_is_gone(place: Place) -> None:
    made = publish(place, KEY)
    place.delete(f"clean/{KEY}/{made.attempt}/aux/seconds.txt")
    assert "aux/seconds.txt" in problems(place, made)


def test_forgetting_removes_one_artifact_and_nothing_else(place: Place) -> None:
    publish(place, KEY)
    other = publish(place, OTHER)
    place.store().forget("clean", KEY)
    assert place.store().look("clean", KEY) == Miss("not made yet")
    assert {name.split("/")[1] for name in place.store().listing("clean")} == {OTHER}
    assert place.store().verify(whole(place.store().look("clean", OTHER))) == [] and other.key == OTHER


def test_a_forgotten_artifact_can_be_made_again(place: Place) -> None:
    publish(place, KEY)
    place.store().forget("clean", KEY)
    again = publish(place, KEY)
    assert place.store().look("clean", KEY) == again and place.store().verify(again) == []


def test_one_listing_serves_many_looks(place: Place) -> None:
    publish(place, KEY)
    store = place.store()
    listing = store.listing("clean")
    assert isinstance(store.look("clean", KEY, listing), Manifest)
    assert store.look("clean", OTHER, listing) == Miss("not made yet")
    assert all(size > 0 for size in listing.values()) and len(listing) == 4


def test_the_manifests_of_all_steps_are_listed_and_broken_ones_are_not(place: Place) -> None:
    publish(place, KEY, step="clean")
    publish(place, KEY, step="split")
    gone = publish(place, OTHER, step="split")
    place.delete(f"split/{OTHER}/{gone.attempt}/content/docs.txt")
    place.store().set_ref("tokenizer", {"key": KEY}, None)
    assert [(m.step, m.key) for m in place.store().manifests()] == [("clean", KEY), ("split", KEY)]
    assert [m.step for m in place.store().manifests("split")] == ["split"]


def test_an_artifact_is_found_by_step_by_the_start_of_its_key_and_by_digest(place: Place) -> None:
    made = publish(place, KEY, "one\n", step="clean")
    publish(place, OTHER, "two\n", step="split")
    store = place.store()
    assert store.find("clean") == store.find("clean/aaaa") == store.find(f"clean/{KEY}") == store.find(made.digest[:8])
    assert store.find("clean") == made


def test_a_name_that_fits_no_artifact_or_several_is_refused_with_what_there_is(place: Place) -> None:
    store = place.store()
    with pytest.raises(ConfigError, match="none yet"):
        store.find("clean")
    publish(place, KEY)
    publish(place, OTHER)
    with pytest.raises(ConfigError, match=r"names 2 artifacts(.|\n)*clean/aaaa(.|\n)*clean/bbbb"):
        store.find("clean")
    with pytest.raises(ConfigError, match="Steps here: clean"):
        store.find("polish")


def test_what_no_manifest_names_is_left_over_only_once_it_is_old(place: Place) -> None:
    made = publish(place, KEY)
    place.put(f"clean/{KEY}/0123456789ab/content/docs.txt", b"of a maker that still works")
    leave(place, {"checkpoint": b"1"}, progress=1)
    assert place.store().leftovers(days=0) == ["_work/train/key"]
    assert place.store().leftovers(days=1) == []
    assert set(place.backend().ages("clean/")) == set(place.backend().names("clean/"))
    assert place.store().look("clean", KEY) == made


def _publish(number: int, place: Place) -> Manifest:
    return publish(place.elsewhere(f"machine-{number}"), KEY, f"from {number}\n")


def test_of_many_makers_one_wins_and_the_others_adopt(place: Place, crowd: Crowd) -> None:
    made = crowd.run(_publish, place)
    winner = whole(place.store().look("clean", KEY))
    assert all(manifest == winner for manifest in made)
    assert place.store().verify(winner) == []
    assert len({name.split("/")[2] for name in place.store().listing("clean")}) == 2


def test_a_broken_manifest_is_replaced_by_one_of_many_makers(place: Place, crowd: Crowd) -> None:
    place.put(f"clean/{KEY}/manifest.json", b"{")
    made = crowd.run(_publish, place)
    assert all(manifest == made[0] for manifest in made) and place.store().verify(made[0]) == []


# refs and runs


def test_a_ref_comes_back_with_an_etag_that_lets_it_be_changed_once(place: Place) -> None:
    store = place.store()
    assert store.get_ref("tokenizer/demo") == (None, None)
    store.set_ref("tokenizer/demo", {"key": "k", "n": [1, "ü"]}, None)
    value, etag = store.get_ref("tokenizer/demo")
    assert value == {"key": "k", "n": [1, "ü"]} and etag is not None
    newer = store.set_ref("tokenizer/demo", {"key": "l"}, etag)
    assert store.get_ref("tokenizer/demo") == ({"key": "l"}, newer)
    for stale in (None, etag):
        with pytest.raises(Conflict, match="tokenizer/demo"):
            store.set_ref("tokenizer/demo", {"key": "m"}, stale)
    assert store.refs() == {"tokenizer/demo": {"key": "l"}}


def test_a_ref_that_was_removed_cannot_be_changed_as_if_it_were_there(place: Place) -> None:
    etag = place.store().set_ref("tokenizer", {}, None)
    place.delete("_refs/tokenizer.json")
    with pytest.raises(Conflict):
        place.store().set_ref("tokenizer", {"key": "k"}, etag)


def test_a_damaged_ref_is_named_with_the_fix(place: Place) -> None:
    place.put("_refs/tokenizer.json", b"{")
    with pytest.raises(ArtifactError, match=r"remove _refs/tokenizer\.json"):
        place.store().get_ref("tokenizer")


@pytest.mark.parametrize("name", ["", "/a", "a/", "../a", "a//b", "a b", "a/../b"])
def test_a_ref_cannot_have_a_name_that_leaves_its_folder(place: Place, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name of a ref"):
        place.store().set_ref(name, {}, None)


def _create(number: int, place: Place) -> bool:
    try:
        place.store().set_ref("first", {"by": number}, None)
    except Conflict:
        return False
    return True


def test_of_many_who_create_a_ref_exactly_one_succeeds(place: Place, crowd: Crowd) -> None:
    for _ in range(3):
        won = crowd.run(_create, place)
        assert won.count(True) == 1
        assert place.store().get_ref("first")[0] == {"by": won.index(True)}
        place.delete("_refs/first.json")


def _change(number: int, place: Place, etag: str) -> bool:
    try:
        place.store().set_ref("first", {"by": number}, etag)
    except Conflict:
        return False
    return True


def test_of_many_who_change_the_same_value_exactly_one_succeeds(place: Place, crowd: Crowd) -> None:
    etag = place.store().set_ref("first", {"by": "nobody"}, None)
    won = crowd.run(_change, place, etag)
    assert won.count(True) == 1 and place.store().get_ref("first")[0] == {"by": won.index(True)}


def _count(number: int, place: Place, times: int) -> None:
    store = place.store()
    for _ in range(times):
        while True:
            value, etag = store.get_ref("counter")
            try:
                store.set_ref("counter", {"n": (value or {"n": 0})["n"] + 1}, etag)
                break
            except Conflict:
                time.sleep(0.002 * number)


def test_no_change_of_a_ref_is_lost_among_many_writers(place: Place, crowd: Crowd) -> None:
    crowd.run(_count, place, 5)
    assert place.store().get_ref("counter")[0] == {"n": 5 * CROWD}


def test_run_records_come_back_oldest_first_and_can_be_brought_up_to_date(place: Place) -> None:
    store = place.store()
    for run, state in (("2026-02", "running"), ("2026-01", "done"), ("2026-02", "done")):
        store.record_run(run, {"state": state})
    assert list(store.runs().items()) == [("2026-01", {"state": "done"}), ("2026-02", {"state": "done"})]


# leases


def test_a_lease_excludes_others_until_it_is_released(place: Place) -> None:
    held = place.store().lock("clean/key")
    assert held.held()
    for there in (place, place.elsewhere("machine")):
        with pytest.raises(Conflict, match="is held by"):
            there.store().lock("clean/key", timeout=0.3)
    held.release()
    assert not held.held()
    again = place.elsewhere("machine").store().lock("clean/key", timeout=300)
    assert again.held()
    again.release()


def test_releasing_twice_gives_nobody_elses_lease_away(place: Place) -> None:
    first = place.store().lock("clean/key")
    first.release()
    second = place.store().lock("clean/key", timeout=0)
    first.release()
    assert second.held()
    second.release()


def test_a_lease_ends_with_the_block_that_it_is_held_in(place: Place) -> None:
    with place.store().lock("clean/key") as lease:
        assert lease.held()
    assert not lease.held()


def test_leases_of_different_names_do_not_wait_for_each_other(place: Place) -> None:
    first, second = place.store().lock("clean/a"), place.store().lock("clean/b", timeout=0)
    assert first.held() and second.held()
    first.release()
    second.release()


def test_whoever_waits_for_a_lease_gives_up_when_the_process_stops(place: Place) -> None:
    held = place.store().lock("clean/key")
    leases.stopping.set()
    try:
        for there in (place, place.elsewhere("machine")):
            with pytest.raises(Conflict):
                there.store().lock("clean/key")
    finally:
        leases.stopping.clear()
        held.release()


def _add(number: int, place: Place, counter: Path, machines: int) -> int:
    lease = place.elsewhere(f"machine-{number % machines}").store().lock("counter", timeout=600)
    try:
        before = int(counter.read_text())
        time.sleep(0.02)
        counter.write_text(str(before + 1))
        assert lease.held()
        return lease.epoch
    finally:
        lease.release()


@pytest.mark.parametrize("machines", [1, CROWD])
def test_one_holder_at_a_time_among_many_processes(place: Place, crowd: Crowd, tmp_path: Path, machines: int) -> None:
    counter = tmp_path / "counter"
    counter.write_text("0")
    epochs = crowd.run(_add, place, counter, machines)
    assert counter.read_text() == str(CROWD)
    assert sorted(epochs) in ([0] * CROWD, list(range(1, CROWD + 1)))


# work directories


def leave(place: Place, files: dict[str, bytes], progress: int) -> None:
    """Be a holder that gets so far and is gone."""
    backend = place.backend()
    lease = backend.lock("train/key", timeout=300)
    work = backend.open_work("train/key", lease)
    work.make()
    for name, data in files.items():
        (work.scratch / name).parent.mkdir(parents=True, exist_ok=True)
        (work.scratch / name).write_bytes(data)
    work.progress = progress
    backend.save_work("train/key", work, lease)
    lease.release()


def opened(place: Place) -> dict[str, bytes]:
    """What the next holder finds in the scratch folder."""
    backend = place.backend()
    lease = backend.lock("train/key", timeout=300)
    scratch = backend.open_work("train/key", lease).scratch
    found = {p.relative_to(scratch).as_posix(): p.read_bytes() for p in scratch.rglob("*") if p.is_file()}
    lease.release()
    return found


def test_the_next_holder_finds_the_scratch_of_the_one_before(place: Place) -> None:
    leave(place, {"checkpoints/step-100/model.bin": b"w" * 1000, "metrics.jsonl": b""}, progress=100)
    expected = {"checkpoints/step-100/model.bin": b"w" * 1000, "metrics.jsonl": b"", "progress": b"100"}
    assert opened(place) == expected
    assert opened(place.elsewhere("machine")) == expected
    assert opened(place.elsewhere("third")) == expected


def test_a_closed_work_directory_is_gone_everywhere(place: Place) -> None:
    leave(place, {"checkpoint": b"1"}, progress=1)
    place.elsewhere("machine").backend().close_work("train/key")
    place.backend().close_work("train/key")
    assert opened(place) == opened(place.elsewhere("machine")) == opened(place.elsewhere("third")) == {}
    assert place.backend().names("_work/train/key/") == {}


def test_work_directories_locks_and_refs_are_no_artifacts(place: Place) -> None:
    leave(place, {"checkpoint": b"1"}, progress=1)
    publish(place, KEY)
    assert [m.key for m in place.store().manifests()] == [KEY]


def test_publishing_from_a_work_directory_leaves_its_scratch_alone(place: Place) -> None:
    backend = place.backend()
    lease = backend.lock("train/key")
    work = backend.open_work("train/key", lease)
    work.make()
    (work / "model.bin").write_bytes(b"w")
    work.progress = 7
    made = place.store().publish(work, draft("train", KEY))
    assert work.progress == 7 and not work.content.exists()
    assert (place.store().artifact(made) / "model.bin").read_bytes() == b"w"
    lease.release()


def _facts(number: int, place: Place, manifest: Manifest) -> Any:
    artifact = place.elsewhere("shared").store().artifact(manifest)
    return (artifact / "docs.txt").read_bytes(), sorted(p.name for p in artifact.path.iterdir())


def test_many_processes_bring_one_artifact_to_one_machine_at_once(place: Place, crowd: Crowd) -> None:
    made = publish(place, KEY, "x" * 200_000)
    facts = crowd.run(_facts, place, made)
    assert facts == [(b"x" * 200_000, ["docs.txt", "train"])] * CROWD


def test_a_manifest_with_another_format_is_not_taken(place: Place) -> None:
    made = publish(place, KEY)
    place.put(f"clean/{KEY}/manifest.json", replace(made, format=made.format + 1).to_json())
    broken(place.store().look("clean", KEY))


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ("nonsense", "Invalid JSON"),
        ('{"kind": "s3"}', r"s3\.bucket: Field required"),
        ('{"kind": "s4"}', "Input tag 's4'"),
        ('{"kind": "local", "pth": "/x"}', r"local\.pth: Extra inputs"),
    ],
)
def test_a_store_that_the_environment_names_wrongly_is_refused_with_what_to_write(
    home: Path, monkeypatch: pytest.MonkeyPatch, given: str, why: str
) -> None:
    monkeypatch.setenv("FROMZERO_STORE", given)
    with pytest.raises(ConfigError, match=rf"FROMZERO_STORE is no store \(.*{why}.*write '.\"kind\":\"s3\""):
        open_store()
    monkeypatch.setenv("FROMZERO_STORE", "")
    assert isinstance(open_store().backend, LocalBackend), "empty is as good as not set"
