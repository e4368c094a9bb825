"""The store: artifacts by step and key, named refs, run records and work directories, over one backend."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from tasks.core.artifact import Artifact, FileEntry, Manifest, digest_of
from tasks.core.errors import ArtifactError, ConfigError, Conflict, FromzeroError, HostError, StepError
from tasks.core.hashes import Hashes
from tasks.core.inner_path import InnerPath
from tasks.core.store.lease import Lease, Reading
from tasks.core.store.listed import Listing
from tasks.core.workdir import Kept, Workdir


class Backend(Protocol):
    """Where bytes are kept. Names are inner paths; an etag stands for an object's present bytes."""

    hashes: Hashes
    """Of files on this machine."""

    def read(self, name: str) -> tuple[bytes, str]:
        """A small object and its etag; raises `FileNotFoundError`."""

    def write(self, name: str, data: bytes, etag: str | None) -> str:
        """Write durably if the object still has `etag` (None: if there is none); raises `Conflict`."""

    def put(self, name: str, data: bytes) -> None:
        """Write what nobody else writes, whatever is there."""

    def names(self, prefix: str) -> Listing:
        """All names under a prefix (which ends with a slash), with sizes."""

    def names_of(self, step: str, keys: Sequence[str]) -> Listing:
        """All names of at least these artifacts of a step, by as few looks as are quick."""

    def read_all(self, names: Iterable[str], listing: Listing) -> dict[str, bytes]:
        """Small objects that a listing names, side by side; those that are gone by now are left out."""

    def hash(self, name: str, size: int) -> str:
        """Hex sha256 of the stored bytes, read anew; raises `FileNotFoundError`."""

    def damage(self, prefix: str, files: tuple[FileEntry, ...]) -> str | None:
        """Which of the files of a prefix has other bytes on this machine than its entry says, None if none has."""

    def ages(self, prefix: str) -> dict[str, float]:
        """All names under a prefix, with the seconds since each was written."""

    def adopt(self, folder: Path, prefix: str, files: tuple[FileEntry, ...]) -> None:
        """Take the files out of a local folder and keep them durably under a prefix, checksums verified."""

    def fetch(self, prefix: str, files: tuple[FileEntry, ...]) -> Path:
        """A local folder with these files of a prefix; raises `ArtifactError` if any has other bytes than its entry
        says."""

    def remove(self, prefix: str) -> None:
        """Remove everything under a prefix; the manifest, if there is one, first."""

    def lock(self, name: str, timeout: float | None = None) -> Lease:
        """The lease of that name; raises `Conflict` after `timeout` seconds (None: wait for ever)."""

    def unwritable(self, name: str) -> str | None:
        """Why nothing can be made under a name; None if it can, as far as can be seen."""

    def open_work(self, name: str, lease: Lease, largest: int | None = None) -> Workdir:
        """The work directory of that name, with what earlier holders of its lease left there; of what lies elsewhere
        only files of at most `largest` bytes are brought, if that is given: for one whose body runs elsewhere."""

    def save_work(self, name: str, work: Workdir, lease: Lease) -> None:
        """Keep the scratch of a work directory where a holder on another machine finds it."""

    def forget_work(self, name: str) -> None:
        """Remove what lies elsewhere of a work directory that begins anew; what is here stays."""

    def close_work(self, name: str) -> None:
        """Remove a work directory for good."""


@dataclass(frozen=True)
class Miss:
    """Why there is no whole artifact at a key."""

    reason: str
    broken: bool = False
    """There is a manifest, but it or a file is damaged or gone."""


class Store:
    """Artifacts, refs, run records and work directories."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    # artifacts

    def look(self, step: str, key: str, listing: Listing | None = None) -> Manifest | Miss:
        """The manifest if every file is there with its size, else why not. `listing` saves a look at the backend."""
        return self.look_at(step, [key], listing)[key]

    def look_at(self, step: str, keys: Sequence[str], listing: Listing | None = None) -> dict[str, Manifest | Miss]:
        """As `look`, at many keys of a step: listed at once, their manifests read side by side.

        The listing is the older of the two looks: a manifest that came after it counts as a miss.
        """
        there = self.backend.names_of(step, keys) if listing is None else listing
        wanted = {key: f"{step}/{key}/manifest.json" for key in keys}
        read = self.backend.read_all([name for name in wanted.values() if name in there], there)
        return {key: _judged(step, key, read.get(name), there) for key, name in wanted.items()}

    def check(self, step: str, key: str) -> Manifest | Miss:
        """As `look`, and what of it is on this machine has the bytes that the manifest names."""
        return self.check_all(step, [key])[key]

    def check_all(self, step: str, keys: Sequence[str]) -> dict[str, Manifest | Miss]:
        """As `check`, of many keys of a step, in as many threads as there are cores: files may have to be read."""
        looked = self.look_at(step, keys)
        if len(looked) < 2:
            return {key: self._undamaged(found) for key, found in looked.items()}
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return dict(zip(looked, pool.map(self._undamaged, looked.values()), strict=True))

    def _undamaged(self, found: Manifest | Miss) -> Manifest | Miss:
        if isinstance(found, Miss):
            return found
        wrong = self.backend.damage(f"{found.step}/{found.key}/{found.attempt}/", found.files)
        return Miss(wrong, broken=True) if wrong else found

    def listing(self, step: str) -> Listing:
        """Everything that is kept of a step, by one look at the backend."""
        return self.backend.names(f"{step}/")

    def manifests(self, step: str | None = None, listing: Listing | None = None) -> Iterator[Manifest]:
        """All whole artifacts, of one step or of all. `listing` saves a look at the backend."""
        there = self.backend.names(f"{step}/" if step else "") if listing is None else listing
        keys: dict[str, list[str]] = {}
        for name in sorted(there):
            if re.fullmatch(r"[^_/][^/]*/[0-9a-f]{64}/manifest\.json", name):
                owner, key, _ = name.split("/")
                keys.setdefault(owner, []).append(key)
        for owner, known in keys.items():
            yield from (found for found in self.look_at(owner, known, there).values() if isinstance(found, Manifest))

    def steps(self) -> list[str]:
        """The steps of which something is kept."""
        return sorted({name.split("/")[0] for name in self.backend.names("") if not name.startswith(("_", "."))})

    def leftovers(self, days: float) -> list[str]:
        """Attempts that no manifest names and work directories, untouched for `days` (attempts: for one at least)."""
        newest: dict[str, float] = {}
        for name, age in self.backend.ages("").items():
            parts = name.split("/")
            depth = 3 if parts[0] == "_work" or not parts[0].startswith("_") else 0
            if depth and len(parts) > depth:
                prefix = "/".join(parts[:depth])
                newest[prefix] = min(age, newest.get(prefix, age))
        named = {f"{m.step}/{m.key}/{m.attempt}" for m in self.manifests()}
        limit = days * 86400
        return sorted(
            prefix
            for prefix, age in newest.items()
            if prefix not in named and age >= (limit if prefix.startswith("_work/") else max(limit, 86400.0))
        )

    def publish(self, work: Workdir, manifest: Manifest, over: Manifest | None = None) -> Manifest:
        """Publish a work directory's content/ and aux/ once: the first maker wins, a later one adopts its manifest.

        `manifest` comes without files, digest and attempt. A broken manifest in the way is replaced; a whole one is
        replaced only if it is `over`.
        """
        kept = work.kept or Kept(uuid.uuid4().hex[:12], ())
        there, attempt = {file.path: file for file in kept.files}, kept.attempt
        here = {file.path: file for file in _entries(work, self.backend.hashes)}
        files = tuple(sorted((there | here).values()))
        manifest = replace(manifest, files=files, digest=digest_of(files), attempt=attempt)
        folder = f"{manifest.step}/{manifest.key}/"
        new = tuple(file for path, file in sorted(here.items()) if there.get(path) != file)
        self.backend.adopt(work.root, f"{folder}{attempt}/", new)
        while True:
            etag = self._etag(f"{folder}manifest.json")
            if etag is not None:
                found = self.check(manifest.step, manifest.key)
                if isinstance(found, Manifest) and found.attempt == attempt:
                    return manifest
                if isinstance(found, Manifest) and (over is None or found.attempt != over.attempt):
                    self.backend.remove(f"{folder}{attempt}/")
                    return found
            try:
                self.backend.write(f"{folder}manifest.json", manifest.to_json(), etag)
                return manifest
            except Conflict:
                continue

    def keep(self, work: Workdir, path: str) -> Kept:
        """Send content/ and aux/ of a work directory to the store, for `publish` on the machine of the run at STEP/KEY
        to say that they are an artifact."""
        kept = Kept(uuid.uuid4().hex[:12], tuple(sorted(_entries(work, self.backend.hashes))))
        self.backend.adopt(work.root, f"{path}/{kept.attempt}/", kept.files)
        return kept

    def _etag(self, name: str) -> str | None:
        try:
            return self.backend.read(name)[1]
        except FileNotFoundError:
            return None

    def artifact(self, manifest: Manifest) -> Artifact:
        """The handle, its files on this machine."""
        return Artifact.of(manifest, self.local(manifest))

    def local(self, manifest: Manifest) -> Path:
        """The local folder with the files of an artifact, verified; on S3 they are brought here.

        Raises `ArtifactError` if any has other bytes than when it was made.
        """
        return self.backend.fetch(f"{manifest.step}/{manifest.key}/{manifest.attempt}/", manifest.files)

    def verify(self, manifest: Manifest) -> list[str]:
        """Hash every stored file again; returns what does not fit, empty if all is well."""
        folder, wrong = f"{manifest.step}/{manifest.key}/{manifest.attempt}/", []
        for file in manifest.files:
            try:
                if self.backend.hash(f"{folder}{file.path}", file.size) != file.sha256:
                    wrong.append(f"{file.path} has other bytes than when it was made")
            except FileNotFoundError:
                wrong.append(f"{file.path} is missing")
        return wrong

    def forget(self, step: str, key: str) -> None:
        """Remove an artifact: a complete and safe way to have it made again."""
        self.backend.remove(f"{step}/{key}/")

    def find(self, ref: str) -> Manifest:
        """The artifact that STEP, STEP/KEY… (a prefix) or DIGEST… names; raises `ConfigError` if none or several."""
        step, _, key = ref.partition("/")
        known = list(self.manifests())
        found = (
            [m for m in known if m.step == step and m.key.startswith(key)]
            if key or any(m.step == step for m in known)
            else [m for m in known if len(ref) >= 6 and (m.digest.startswith(ref) or m.key.startswith(ref))]
        )
        if len(found) == 1:
            return found[0]
        if not found:
            steps = ", ".join(sorted({m.step for m in known})) or "none yet"
            raise ConfigError(f"no artifact {ref!r}; give STEP/KEY or the start of a digest. Steps here: {steps}")
        several = "\n".join(f"  {m.step}/{m.key[:12]}  {m.shard or ''}" for m in found[:20])
        raise ConfigError(f"{ref!r} names {len(found)} artifacts; give more of the key:\n{several}")

    # named refs

    def get_ref(self, name: str) -> tuple[dict[str, Any] | None, str | None]:
        """The value of a named ref and its etag; (None, None) if there is none."""
        try:
            data, etag = self.backend.read(_ref_name(name))
        except FileNotFoundError:
            return None, None
        try:
            value = json.loads(data)
        except ValueError as error:
            raise ArtifactError(f"ref {name} is damaged ({error}): remove _refs/{name}.json") from error
        return dict(value), etag

    def set_ref(self, name: str, value: dict[str, Any], etag: str | None) -> str:
        """Set a ref if it still has `etag` (None: if there is none yet); raises `Conflict` on a lost race."""
        return self.backend.write(_ref_name(name), (json.dumps(value, indent=1, sort_keys=True) + "\n").encode(), etag)

    def refs(self) -> dict[str, dict[str, Any]]:
        """All named refs."""
        names = (name.removeprefix("_refs/").removesuffix(".json") for name in self.backend.names("_refs/"))
        return {name: value for name in sorted(names) if (value := self.get_ref(name)[0]) is not None}

    # run records

    def record_run(self, run: str, record: dict[str, Any]) -> None:
        """Keep what a run did, under its id."""
        name = f"_runs/{run}.json"
        self.backend.write(name, json.dumps(record, indent=1).encode(), self._etag(name))

    def runs(self) -> dict[str, dict[str, Any]]:
        """All run records by id, oldest first."""
        names = sorted(self.backend.names("_runs/"))
        return {name[len("_runs/") : -len(".json")]: json.loads(self.backend.read(name)[0]) for name in names}

    # leases and work directories

    def lock(self, name: str, timeout: float | None = None, done: Callable[[], bool] = lambda: False) -> Lease:
        """The lease of that name; wait up to `timeout` seconds, then raise `Conflict`.

        In a store that can only be read nothing is made: what is `done` already needs no lease. Raises `HostError` for
        what is not.
        """
        try:
            return self.backend.lock(name, timeout)
        except Conflict:
            raise
        except (OSError, FromzeroError) as error:
            if (why := self.unwritable((name,))) is None:
                raise
            if done():
                return Reading()
            raise HostError(why) from error

    def unwritable(self, names: Iterable[str]) -> str | None:
        """Why something cannot be made that is kept under these names (STEP, STEP/KEY, a ref), and how to fix that."""
        why = next(filter(None, map(self.backend.unwritable, names)), None)
        fix = "what is whole in it is served: to make more, fix that or name another store (store.path, store.bucket)"
        return why and f"{why}; {fix}"

    @contextmanager
    def if_writable(self, name: str) -> Iterator[None]:
        """What is to be written inside, and no artifact needs, is left out where the store can only be read."""
        try:
            yield
        except Conflict:
            raise
        except (OSError, FromzeroError):
            if self.backend.unwritable(name) is None:
                raise


def _judged(step: str, key: str, data: bytes | None, sizes: Listing) -> Manifest | Miss:
    """What the bytes of a manifest, and the sizes of the files beside it, make of a key."""
    folder = f"{step}/{key}/"
    if data is None:
        return Miss("not made yet")
    try:
        manifest = Manifest.from_json(data, f"{folder}manifest.json")
    except ArtifactError as error:
        return Miss(str(error), broken=True)
    if (manifest.step, manifest.key) != (step, key):
        return Miss(f"{folder}manifest.json belongs to {manifest.step}/{manifest.key}", broken=True)
    for file in manifest.files:
        size = sizes.get(f"{folder}{manifest.attempt}/{file.path}")
        if size is None:
            return Miss(f"{file.path} is missing", broken=True)
        if size != file.size:
            return Miss(f"{file.path} has {size} bytes, not {file.size}", broken=True)
    return manifest


def _ref_name(name: str) -> str:
    if not re.fullmatch(r"[\w.@-]+(/[\w.@-]+)*", name) or ".." in name:
        raise ConfigError(f"{name!r} cannot be the name of a ref: use letters, digits, . - _ and /")
    return f"_refs/{name}.json"


def _entries(work: Workdir, hashes: Hashes) -> Iterator[FileEntry]:
    for top in (work.content, work.aux):
        for folder, folders, names in os.walk(top):
            for name in [*names, *(name for name in folders if Path(folder, name).is_symlink())]:
                path = Path(folder, name)
                inner = InnerPath(path.relative_to(work.root).as_posix(), f"the work directory {work.root}")
                if path.is_symlink():
                    raise StepError(f"{path} is a link: a step keeps files, not where they are")
                yield FileEntry(inner, path.stat().st_size, hashes.of(path))
