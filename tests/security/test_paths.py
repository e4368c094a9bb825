"""Paths that data name never lead out: the same hostile ones through every reader of paths there is."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from tasks.core.artifact import FileEntry, Manifest
from tasks.core.errors import ArtifactError, FromzeroError
from tasks.core.inner_path import InnerPath
from tasks.core.store.lease import FileLease
from tasks.core.store.listed import Listing
from tasks.core.store.local import LocalBackend
from tasks.core.store.s3 import S3Backend
from tasks.core.store.store import Miss, Store
from tasks.register.mlflow_reader import ModelVersion

KEY = "a" * 64
OUTSIDE = [
    "../x",
    "/etc/passwd",
    "content/../../x",
    "content\\..\\x",
    "content/a\0b",
    "",
    ".",
    "..",
    "a/..",
    "content//x",
]
PIECES = st.sampled_from(["..", ".", "", "a", "content", "model", "\\", "a\\b", "a\0", "\n"])
HOSTILE = st.lists(PIECES, min_size=1, max_size=6).map("/".join).filter(lambda path: not InnerPath.fits(path))
QUICK = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def leads_out(path: str) -> bool:
    return any(part in ("..", "") for part in path.split("/")) or any(letter in path for letter in "\\\0\n")


@given(st.text(alphabet="./\\\0ab", max_size=12))
def test_what_an_inner_path_accepts_stays_below_its_folder(path: str) -> None:
    accepted = InnerPath.fits(path)
    root = Path("/root/of/all")
    if accepted:
        assert (root / path).resolve().is_relative_to(root) and (root / path).resolve() != root
        assert not leads_out(path)
    else:
        with pytest.raises(ArtifactError, match="no path inside its folder"):
            InnerPath(path)


def manifest(**change: Any) -> bytes:
    """A manifest in which something is changed, sealed as whoever writes the store can seal it."""
    ref = {"step": "clean", "key": KEY, "digest": "d", "part": None, "shard": None}
    whole = Manifest("pretrain", KEY, {}, "", "0" * 12, (), {}, (ref,))
    return replace(whole, **change).to_json()


def unchecked(path: str) -> FileEntry:
    entry = FileEntry("content/x", 0, sha256(b"").hexdigest())
    object.__setattr__(entry, "path", path)
    return entry


CHANGES: dict[str, Callable[[str], dict[str, Any]]] = {
    "file": lambda path: {"files": (unchecked(path),)},
    "attempt": lambda path: {"attempt": path},
    "step": lambda path: {"step": path},
    "key": lambda path: {"key": path},
    "input's step": lambda path: {"inputs": ({"step": path, "key": KEY},)},
    "input's key": lambda path: {"inputs": ({"step": "clean", "key": path},)},
}


@pytest.mark.parametrize("what", CHANGES)
@QUICK
@given(HOSTILE)
@example("../../x")
def test_a_manifest_with_a_path_that_leads_out_is_broken(tmp_path: Path, what: str, path: str) -> None:
    store = Store(LocalBackend(tmp_path / "store"))
    file = tmp_path / "store" / "pretrain" / KEY / "manifest.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(manifest(**CHANGES[what](path)))
    found = store.look("pretrain", KEY)
    assert isinstance(found, Miss) and found.broken and "is not a valid manifest" in found.reason


@pytest.mark.parametrize("path", ["other/x", "content", "manifest.json"])
def test_a_manifests_files_lie_in_content_or_aux(path: str) -> None:
    with pytest.raises(ArtifactError, match="lies in neither"):
        Manifest.from_json(manifest(files=(unchecked(path),)), "here")


class Bucket:
    """Objects as whoever can write the bucket leaves them."""

    where, part, connections = "s3://bucket/", 1 << 24, 1

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects = objects

    def names(self, prefix: str) -> Listing:
        return Listing({name: len(data) for name, data in self.objects.items() if name.startswith(prefix)})

    def side_by_side(self, work: Callable[[str], Any], names: list[str]) -> list[Any]:
        return list(map(work, names))

    def ages(self, prefix: str) -> dict[str, float]:
        return {name: 1e9 for name in self.names(prefix)}

    def get(self, name: str) -> Any:
        return SimpleNamespace(data=self.objects[name], etag='"e"')

    def delete(self, names: list[str]) -> None:
        for name in names:
            self.objects.pop(name, None)

    def abort_uploads(self, prefix: str) -> None:
        pass

    def download(self, jobs: Any, staging: Path) -> None:
        for name, target, _ in jobs:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(self.objects[name])


def on_bucket(home: Path, objects: dict[str, bytes]) -> S3Backend:
    backend = S3Backend("bucket", "", home, "http://127.0.0.1:9", "us-east-1")
    backend.bucket = Bucket(objects)  # type: ignore[assignment]
    return backend


@contextmanager
def unchanged(folder: Path, *but: Path) -> Iterator[None]:
    """Nothing is written or removed in a folder, but below some of its folders."""

    def seen() -> dict[Path, int]:
        paths = (path for path in folder.rglob("*") if not any(path.is_relative_to(one) for one in but))
        return {path: path.lstat().st_mtime_ns for path in paths if not path.is_dir()}

    before = seen()
    yield
    assert seen() == before


@QUICK
@given(HOSTILE)
@example("../../../../precious")
def test_the_index_of_a_work_directory_writes_nothing_outside_of_it(tmp_path: Path, path: str) -> None:
    data = b"a stranger's"
    entry = asdict(unchecked(path)) | {"size": len(data), "sha256": sha256(data).hexdigest()}
    own = f"_work/pretrain/{KEY}/00000001/"
    index = json.dumps({"progress": 5, "files": [entry]}).encode()
    backend = on_bucket(tmp_path / "home", {f"{own}index.json": index, own + entry["sha256"]: data})
    (tmp_path / "precious").write_text("mine")
    lease = FileLease(0)
    lease.epoch = 2
    work = tmp_path / "home" / "work" / "pretrain" / KEY
    with unchanged(tmp_path, work), pytest.raises(ArtifactError, match="is no index of a work directory"):
        backend.open_work(f"pretrain/{KEY}", lease)
    assert not (work / "scratch").exists()


@pytest.mark.parametrize("index", ["[]", "{}", '{"progress": "x", "files": []}', '{"progress": 1, "files": [3]}', "{"])
def test_an_index_that_is_none_is_one_clear_error(tmp_path: Path, index: str) -> None:
    backend = on_bucket(tmp_path, {f"_work/pretrain/{KEY}/00000001/index.json": index.encode()})
    lease = FileLease(0)
    lease.epoch = 2
    with pytest.raises(ArtifactError, match=r"00000001/index\.json in s3://bucket/ is no index"):
        backend.open_work(f"pretrain/{KEY}", lease)


def test_objects_whose_names_lead_out_are_no_part_of_the_store_and_collecting_garbage_removes_nothing_here(
    tmp_path: Path,
) -> None:
    from tasks.core.store import garbage

    (tmp_path / "home" / "cache").mkdir(parents=True)
    (tmp_path / "home" / "precious").write_text("mine")
    names = ["a/../../precious/x", "_work/../../x/y", "../../precious", "/etc/passwd", "a//b/c"]
    backend = on_bucket(tmp_path / "home", dict.fromkeys(names, b"x"))
    assert backend.names("") == {} and backend.ages("") == {}
    with unchanged(tmp_path, tmp_path / "home" / "locks"):
        list(garbage.garbage(Store(backend), (), 0, 0.0, dry_run=False))


@QUICK
@given(HOSTILE.filter(lambda name: name != "" and name != "/"))
@example("../precious")
def test_no_name_leads_a_backend_out_of_its_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "precious").mkdir(exist_ok=True)
    (tmp_path / "precious" / "manifest.json").write_text("mine")
    lease = FileLease(0)
    assume(not InnerPath.fits(name.removesuffix("/")))
    local, bucket = LocalBackend(tmp_path / "store"), on_bucket(tmp_path / "home", {})
    for call in (
        lambda: local.read(name), lambda: local.write(name, b"x", None), lambda: local.names(name),
        lambda: local.remove(name), lambda: local.lock(name, 0), lambda: local.open_work(name, lease),
        lambda: local.close_work(name), lambda: local.fetch(name, ()), lambda: local.adopt(tmp_path, name, ()),
        lambda: local.hash(name, 0), lambda: bucket.fetch(name, ()), lambda: bucket.remove(name),
        lambda: bucket.lock(name, 0), lambda: bucket.open_work(name, lease), lambda: bucket.close_work(name),
    ):  # fmt: skip
        with unchanged(tmp_path), pytest.raises(ArtifactError, match="no path inside its folder"):
            call()


@QUICK
@given(HOSTILE)
@example("../../precious")
def test_a_jobs_inputs_name_files_inside_their_artifacts(path: str) -> None:
    from tasks.core.engine.job_file import decode

    ref = {"step": "clean", "key": KEY, "digest": "d", "part": None, "shard": None}
    with pytest.raises(ArtifactError):
        decode({"artifact": ref, "stats": {}, "root": None, "files": [[path, 0, "0"]]})


@QUICK
@given(HOSTILE)
@example("../../precious")
def test_a_registered_versions_tags_name_files_inside_of_it(path: str) -> None:
    from tasks.register.integrity import inside, registered_files

    for tags, read in (
        ({"fromzero.files": json.dumps({path: [0, "0"]})}, registered_files),
        ({"fromzero.load_from": path}, inside),
    ):
        with pytest.raises(ArtifactError, match="name version 1 names"):
            read(ModelVersion("name", 1, tags))  # type: ignore[operator]


@QUICK
@given(HOSTILE)
@example("../../precious")
def test_checkpoints_are_read_from_their_own_folders_only(tmp_path: Path, path: str) -> None:
    from torch.distributed.checkpoint.filesystem import _StorageInfo
    from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex

    from tasks.training.trainer.checkpoint import COMPLETE, RestrictedReader, is_whole

    stored = Metadata({}, storage_data={MetadataIndex("weights"): _StorageInfo(path, 0, 8)})
    (tmp_path / ".metadata").write_bytes(pickle.dumps(stored))
    with pytest.raises(ArtifactError, match="no path inside its folder"):
        RestrictedReader(tmp_path).read_metadata()
    (tmp_path / COMPLETE).write_text(json.dumps({path: "0"}))
    assert not is_whole(tmp_path)


@QUICK
@given(HOSTILE.filter(lambda path: "\0" not in path))
@example("../../precious.safetensors")
def test_an_index_of_weights_names_files_beside_it(tmp_path: Path, path: str) -> None:
    from tasks.formats.model_folder import ForeignModel, refuse_foreign

    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": path}}))
    with pytest.raises(ForeignModel, match="is no file beside it"):
        refuse_foreign(tmp_path)


@pytest.mark.parametrize("path", ["../../../precious.md", "/etc/precious.md"])
def test_a_distributions_record_names_files_inside_of_it(path: str) -> None:
    from tasks.collect.sources.python_packages import _files

    record = f"own/readme.md,sha256=x,5\n{path},sha256=x,5\n"
    found = _files(SimpleNamespace(name="own", read_text=lambda name: record))  # type: ignore[arg-type]
    assert [name for name, _, _ in found] == ["own/readme.md"]


@pytest.mark.parametrize("path", ["../precious.jsonl", "a/../../precious.jsonl"])
def test_a_hubs_listing_names_files_inside_of_the_dataset(tmp_path: Path, path: str) -> None:
    from tasks.collect.sources import hub
    from tasks.collect.sources.hub import HubSource

    entry = {"uri": f"{hub.SCHEME}owner/name/{path}", "stamp": "s"}
    with (
        pytest.raises(FromzeroError, match="no path inside its folder"),
        hub.downloaded(entry, HubSource(kind="hub", dataset="owner/name", text="text"), tmp_path),
    ):
        pass


def test_what_mlflow_has_not_taken_is_kept_under_the_runs_id_only(tmp_path: Path) -> None:
    from tasks.core.tracking.tracking import Tracked, Tracking

    tracking = Tracking(tmp_path / "home", "run", "demo", every=0.05)
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch" / "run.json").write_text(json.dumps({"id": "../../precious"}))
    with unchanged(tmp_path / "home"), pytest.raises(ArtifactError, match="no path inside its folder"):
        tracking.finish(Tracked(tmp_path / "scratch"), "KILLED", timeout=0)
