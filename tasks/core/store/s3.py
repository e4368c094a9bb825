"""The store in an S3 bucket: conditional objects for truth, the local disk as a cache."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from conf.schema.store import S3StoreConf
from tasks.core.artifact import TOPS, FileEntry, canonical
from tasks.core.errors import ArtifactError, ConfigError, Conflict, Transient
from tasks.core.hashes import Hashes
from tasks.core.inner_path import InnerPath
from tasks.core.small_files import clear, write_atomically
from tasks.core.store.lease import Lease, lock_file
from tasks.core.store.listed import MANIFEST, Listing
from tasks.core.store.s3_bucket import ANY, Bucket, file_pieces
from tasks.core.store.s3_known import SmallObjects
from tasks.core.store.s3_lease import acquire
from tasks.core.workdir import Workdir

ROUNDS = 3
"""How often the copying of a scratch folder starts again because a file changed under it."""


class Index(NamedTuple):
    """The scratch of a work directory, as a holder left it in the bucket."""

    progress: int
    files: list[FileEntry]


class S3Backend:
    """A bucket under `prefix`; `home` keeps cache/, work/ and locks/ on this machine, and remembers hashes.

    Whoever writes the bucket is not trusted to choose files here: objects whose names lead out of a folder are no part
    of the store, and all methods raise `ArtifactError` for such a name.
    Credentials come from the usual places of boto3. `part_mb` (5 or more) is the size from which a file is sent in
    parts, `connections` how many are sent at once, `attempts` how often a request is tried.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str,
        home: Path,
        endpoint: str | None = None,
        region: str | None = None,
        lease_seconds: float = 36.0,
        part_mb: int = 16,
        attempts: int = 8,
        connections: int = 8,
    ) -> None:
        self.home = home
        self.lease_seconds = lease_seconds
        self.bucket = Bucket(
            bucket, prefix, endpoint, region, attempts=attempts, part_mb=part_mb, connections=connections
        )
        self._renewals = Bucket(bucket, prefix, endpoint, region, attempts=2, timeout=max(lease_seconds / 6, 1.0))
        self._may_write = False
        self._hashes: dict[Path, tuple[tuple[int, ...], str]] = {}
        self.hashes = Hashes(home)
        self._known = SmallObjects(home)

    @classmethod
    def from_conf(cls, conf: S3StoreConf, home: Path) -> S3Backend:
        """The backend that the options name."""
        return cls(home=home, **conf.model_dump(exclude={"kind"}))

    def read(self, name: str) -> tuple[bytes, str]:
        """A small object and its etag; raises `FileNotFoundError`."""
        found = self.bucket.get(name)
        return found.data, found.etag

    def write(self, name: str, data: bytes, etag: str | None) -> str:
        """Write with If-None-Match (no etag) or If-Match; raises `Conflict`; the new etag."""
        new = self.bucket.put(name, data, etag)
        if name.endswith(f"/{MANIFEST}"):
            self._known.keep(name, new, data)
        return new

    def names(self, prefix: str) -> Listing:
        """All names under a prefix, with sizes and etags."""
        found = self.bucket.names(prefix)
        for name in [name for name in found if not InnerPath.fits(name)]:
            del found[name]
        return found

    def names_of(self, step: str, keys: Sequence[str]) -> Listing:
        """A listing for each of a few keys, all at once; of more, the one of the step, which also has all old ones."""
        if len(keys) > self.bucket.connections:
            return self.names(f"{step}/")
        return Listing.of(self.bucket.side_by_side(self.names, [f"{step}/{key}/" for key in keys]))

    def read_all(self, names: Iterable[str], listing: Listing) -> dict[str, bytes]:
        """Small objects, by name: from this machine where it has the bytes of the listing's etag, else side by side."""
        names = list(names)
        found = {name: data for name in names if (data := self._known.get(name, listing.etags.get(name))) is not None}
        wanted = [name for name in names if name not in found]
        read = zip(wanted, self.bucket.side_by_side(self._read_known, wanted), strict=True)
        return found | {name: data for name, data in read if data is not None}

    def _read_known(self, name: str) -> bytes | None:
        try:
            data, etag = self.read(name)
        except FileNotFoundError:
            return None
        self._known.keep(name, etag, data)
        return data

    def put(self, name: str, data: bytes) -> None:
        """Write whatever is there."""
        self.bucket.put(name, data, ANY)

    def ages(self, prefix: str) -> dict[str, float]:
        """All names under a prefix, unfinished uploads too, with the seconds since each was written or begun."""
        return {name: age for name, age in self.bucket.ages(prefix).items() if InnerPath.fits(name)}

    def hash(self, name: str, size: int) -> str:
        """Hex sha256 of the stored bytes, read anew from the bucket."""
        digest = hashlib.sha256()
        for data in self.bucket.pieces(name, size):
            digest.update(data)
        return digest.hexdigest()

    def damage(self, prefix: str, files: tuple[FileEntry, ...]) -> str | None:
        """None: what is cached is made sure of, and brought again, whenever it is fetched."""
        return None

    # artifacts

    def adopt(self, folder: Path, prefix: str, files: tuple[FileEntry, ...]) -> None:
        """Send the files, see that all have arrived, and move them into this machine's cache."""
        self.bucket.upload((folder / file.path, prefix + file.path, file) for file in files)
        sizes = self.names(prefix)
        for file in files:
            if sizes.get(prefix + file.path) != file.size:
                raise Transient(f"{prefix}{file.path} did not arrive whole in {self.bucket.where}")
        cache = self._cache(prefix)
        clear(cache)
        cache.mkdir(parents=True)
        for top in ("content", "aux"):
            if (folder / top).exists():
                shutil.move(folder / top, cache / top)

    def fetch(self, prefix: str, files: tuple[FileEntry, ...]) -> Path:
        """The cached folder; what is not there is brought, verified, and put in place file by file.

        Safe when several processes do it at once. Raises `ArtifactError` if the bucket has other bytes.
        """
        cache = self._cache(prefix)
        for top in TOPS:
            (cache / top).mkdir(parents=True, exist_ok=True)
        if wanted := [file for file in files if not self._cached(cache, file)]:
            jobs = [(prefix + file.path, cache / file.path, file) for file in wanted]
            try:
                self.bucket.download(jobs, cache / ".incoming")
            except FileNotFoundError as error:
                raise ArtifactError(f"{error}; run again, it is made anew") from error
        return cache

    def _cached(self, cache: Path, file: FileEntry) -> bool:
        """Whether a file of the cache is the one that its entry describes."""
        path = InnerPath(file.path).below(cache)
        return path.is_file() and path.stat().st_size == file.size and self.hashes.of(path) == file.sha256

    def _cache(self, prefix: str) -> Path:
        return self._here("cache", prefix)

    def _here(self, room: str, name: str) -> Path:
        """What is kept on this machine of a name, or of a prefix."""
        return self.home / room / InnerPath(name.removesuffix("/"), self.bucket.where)

    def remove(self, prefix: str) -> None:
        """Remove everything under a prefix, here and in the bucket; the manifest first."""
        clear(self._cache(prefix))
        names = self.names(prefix)
        if f"{prefix}manifest.json" in names:
            self.bucket.delete([f"{prefix}manifest.json"])
        self.bucket.delete(sorted(names))
        self.bucket.abort_uploads(prefix)

    # leases

    def unwritable(self, name: str) -> str | None:
        """Why nothing can be written: what the server says to a write that could not take place in any case.

        Asked until it would have been let: then it is so for all names.
        """
        if self._may_write:
            return None
        try:
            self.bucket.put("_locks/of-nobody", b"", '"0"')
        except Conflict:
            self._may_write = True
        except ConfigError as error:
            return f"the store {self.bucket.where} can only be read with these credentials: {error}"
        return None

    def lock(self, name: str, timeout: float | None = None) -> Lease:
        """The lease object _locks/NAME, under a lock on a local file; raises `Conflict` after `timeout` seconds."""
        begun = time.monotonic()
        local = lock_file(self._here("locks", f"{InnerPath(name)}.lock"), timeout)
        try:
            left = None if timeout is None else max(timeout - (time.monotonic() - begun), 0.0)
            return acquire(self.bucket, self._renewals, f"_locks/{name}", self.lease_seconds, local, left)
        except BaseException:
            local.release()
            raise

    # work directories: _work/NAME/EPOCH/ holds one object per file content, and index.json, written last; what lies in
    # folders below it is the body's own

    def open_work(self, name: str, lease: Lease, largest: int | None = None) -> Workdir:
        """The local folder, with the newest scratch that a holder up to this one has left in the bucket.

        The local scratch is kept if no other machine held the lease since, or if its progress is no less.
        """
        work = Workdir(self._here("work", name))
        work.root.mkdir(parents=True, exist_ok=True)
        marker = work.epoch_file
        last = int(marker.read_text()) if marker.is_file() and work.scratch.is_dir() else -1
        for epoch, index in self._indices(name, lease.epoch):
            if epoch <= last or 0 < index.progress <= work.progress:
                break
            marker.unlink(missing_ok=True)
            if largest is not None:
                index = Index(index.progress, [file for file in index.files if file.size <= largest])
            if self._pull(f"_work/{name}/{epoch:08d}/", work, index):
                break
        if largest is None:
            write_atomically(marker, str(lease.epoch).encode())
        else:
            marker.unlink(missing_ok=True)  # what is here is not all of it
        return work

    def _indices(self, name: str, newest: int) -> Iterator[tuple[int, Index]]:
        base = f"_work/{name}/"
        found = (re.fullmatch(r"(\d{8})/index\.json", n.removeprefix(base)) for n in self.names(base))
        epochs = {one[1] for one in found if one}
        for epoch in sorted((int(number) for number in epochs), reverse=True):
            if epoch <= newest:
                with suppress(FileNotFoundError):  # a holder that was thought dead may be clearing up
                    yield epoch, self._index(f"{base}{epoch:08d}/index.json")

    def _index(self, name: str) -> Index:
        """What a holder has left; raises `ArtifactError` for an index that no holder writes."""
        try:
            raw = json.loads(self.read(name)[0])
            return Index(int(raw["progress"]), [FileEntry(**entry) for entry in raw["files"]])
        except (ValueError, TypeError, KeyError, RecursionError, ArtifactError) as error:
            where = f"{name} in {self.bucket.where}"
            raise ArtifactError(
                f"{where} is no index of a work directory: {error}; remove it, then run again"
            ) from error

    def _pull(self, prefix: str, work: Workdir, index: Index) -> bool:
        fresh = work.root / f".pull.{uuid.uuid4().hex[:8]}"
        try:
            jobs = [(prefix + file.sha256, fresh / "scratch" / file.path, file) for file in index.files]
            self.bucket.download(jobs, fresh)
            clear(work.scratch)
            (fresh / "scratch").mkdir(exist_ok=True)
            (fresh / "scratch").rename(work.scratch)
        except (ArtifactError, FileNotFoundError):  # not whole: an older epoch may be
            return False
        finally:
            clear(fresh)
        return True

    def save_work(self, name: str, work: Workdir, lease: Lease) -> None:
        """Mirror the scratch folder; raises `Conflict` if the lease is lost.

        Each epoch has objects of its own, so that a holder that was thought dead cannot touch what a later one wrote.
        """
        if not lease.held():
            raise Conflict(f"the lease of {name} was lost: another run goes on with it")
        base = f"_work/{name}/"
        own = f"{base}{lease.epoch:08d}/"
        there = self.names(base)
        progress = work.progress  # read before the files: what is copied is at least that far
        files = self._send(work.scratch, own, set(there))
        index = canonical({"progress": progress, "files": [asdict(file) for file in files]})
        self.write(f"{own}index.json", index, self.read(f"{own}index.json")[1] if f"{own}index.json" in there else None)
        kept = {f"{own}index.json", *(own + file.sha256 for file in files)}
        mirrored = [n for n in there if n not in kept and n[len(base) :].count("/") == 1]
        old = [n for n in mirrored if n[len(base) :].split("/")[0] <= f"{lease.epoch:08d}"]
        self.bucket.delete(old)

    def _send(self, scratch: Path, own: str, there: set[str]) -> list[FileEntry]:
        files: list[FileEntry] = []
        for _ in range(ROUNDS):
            files, steady = [], True
            for path in [Path(folder, name) for folder, _, names in os.walk(scratch) for name in names]:
                try:
                    file = self._entry(path, path.relative_to(scratch).as_posix())
                    if own + file.sha256 not in there:
                        self.bucket.upload([(path, own + file.sha256, file)])
                        there.add(own + file.sha256)
                    files.append(file)
                except (FileNotFoundError, ArtifactError):  # it vanished or changed
                    steady = False
            if steady:
                break
        return files

    def _entry(self, path: Path, name: str) -> FileEntry:
        stat = path.stat()
        seen = (stat.st_size, stat.st_mtime_ns, stat.st_ino)
        known = self._hashes.get(path)
        if known is not None and known[0] == seen:
            return FileEntry(name, stat.st_size, known[1])
        digest = hashlib.sha256()
        for data in file_pieces(path, stat.st_size, self.bucket.part):  # to this size: a log may grow meanwhile
            digest.update(data)
        if stat.st_size > self.bucket.part:
            self._hashes[path] = (seen, digest.hexdigest())
        return FileEntry(name, stat.st_size, digest.hexdigest())

    def forget_work(self, name: str) -> None:
        """Remove what the bucket has of it."""
        self.remove(f"_work/{name}/")

    def close_work(self, name: str) -> None:
        """Remove the folder here and what the bucket has of it."""
        clear(self._here("work", name))
        self.forget_work(name)
