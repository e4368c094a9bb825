"""The store on a local directory: renames, links and flocks."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

from tasks.core.artifact import TOPS, FileEntry
from tasks.core.errors import ArtifactError, Conflict
from tasks.core.hashes import Hashes
from tasks.core.inner_path import InnerPath
from tasks.core.small_files import clear, write_atomically
from tasks.core.store.lease import Lease, lock_file
from tasks.core.store.listed import Listing
from tasks.core.workdir import Workdir

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}")
"""Names under which files are written before they get their own."""


class LocalBackend:
    """Everything under one folder of a local (or POSIX network) file system; `home` remembers hashes.

    All methods raise `ArtifactError` for a name that leads out of the folder.
    """

    def __init__(self, root: Path, home: Path | None = None) -> None:
        self.root = root
        self.hashes = Hashes(home)

    def _at(self, name: str) -> Path:
        """Where a name, or a prefix, is kept."""
        return self.root / InnerPath(name.removesuffix("/"), "the store") if name else self.root

    def read(self, name: str) -> tuple[bytes, str]:
        """A small file and the hash that serves as its etag; raises `FileNotFoundError`."""
        data = self._at(name).read_bytes()
        return data, hashlib.sha256(data).hexdigest()

    def write(self, name: str, data: bytes, etag: str | None) -> str:
        """Write through a temporary file: link(2) if there must be none yet, a rename under a lock to replace one."""
        path = self._at(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if etag is None:
                try:
                    os.link(temporary, path)
                except FileExistsError:
                    raise Conflict(f"{name} is there already") from None
            else:
                self._replace(temporary, path, name, etag)
        finally:
            temporary.unlink(missing_ok=True)
        _sync_folder(path.parent)
        return hashlib.sha256(data).hexdigest()

    def put(self, name: str, data: bytes) -> None:
        """Rename a temporary file into place."""
        path = self._at(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, data)

    def _replace(self, temporary: Path, path: Path, name: str, etag: str) -> None:
        lease = lock_file(self.root / "_locks" / f"{name}.write")
        try:
            if not path.exists() or self.read(name)[1] != etag:
                raise Conflict(f"{name} was changed by another writer")
            temporary.replace(path)
        finally:
            lease.release()

    def names(self, prefix: str) -> Listing:
        """All file names under a prefix, with sizes; unfinished ones are left out."""
        found = Listing()
        start, folders = len(str(self.root)) + 1, [str(self._at(prefix))]
        while folders:  # os.walk takes twice as long
            for entry in _entries(folders.pop()):
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif not TEMPORARY.fullmatch(entry.name) and not (entry.is_symlink() and entry.is_dir()):
                    with contextlib.suppress(FileNotFoundError):
                        found[entry.path[start:]] = entry.stat().st_size
        return found

    def names_of(self, step: str, keys: Sequence[str]) -> Listing:
        """Those of the keys' folders."""
        return Listing.of(self.names(f"{step}/{key}/") for key in keys)

    def read_all(self, names: Iterable[str], listing: Listing) -> dict[str, bytes]:
        """Small files, by name; those that are gone by now are left out."""
        found = {}
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                found[name] = self._at(name).read_bytes()
        return found

    def hash(self, name: str, size: int) -> str:
        """Hex sha256 of a file, read anew; raises `FileNotFoundError`."""
        return self.hashes.anew(self._at(name))

    def damage(self, prefix: str, files: tuple[FileEntry, ...]) -> str | None:
        """Which file has other bytes than its entry says, or is a link; each is read once while it stays as it is."""
        folder = self._at(prefix)
        for file in files:
            try:
                if self.hashes.of(InnerPath(file.path).below(folder)) != file.sha256:
                    return f"{file.path} has other bytes than when it was made"
            except ArtifactError as error:
                return str(error)
            except FileNotFoundError:
                return f"{file.path} is missing"
        return None

    def ages(self, prefix: str) -> dict[str, float]:
        """All file names under a prefix, with the seconds since each was written."""
        now, found = time.time(), {}
        for name in self.names(prefix):
            with contextlib.suppress(FileNotFoundError):
                found[name] = now - self._at(name).stat().st_mtime
        return found

    def adopt(self, folder: Path, prefix: str, files: tuple[FileEntry, ...]) -> None:
        """Rename content/ and aux/ into place, fsynced."""
        target = self._at(prefix)
        target.mkdir(parents=True, exist_ok=True)
        for file in files:
            _sync_file(folder / file.path)
        for top in TOPS:
            if (folder / top).exists():
                (folder / top).rename(target / top)
        for inner, _, _ in os.walk(target):
            _sync_folder(Path(inner))
        _sync_folder(target.parent)

    def fetch(self, prefix: str, files: tuple[FileEntry, ...]) -> Path:
        """The folder itself: nothing is copied."""
        if wrong := self.damage(prefix, files):
            raise ArtifactError(f"{self._at(prefix)}: {wrong}; run again, it is made anew")
        return self._at(prefix)

    def remove(self, prefix: str) -> None:
        """Remove a folder; the manifest first, so that what is half removed is never taken for whole."""
        folder = self._at(prefix)
        (folder / "manifest.json").unlink(missing_ok=True)
        clear(folder)

    def lock(self, name: str, timeout: float | None = None) -> Lease:
        """An flock on a file under _locks/ that is never unlinked."""
        return lock_file(self._at(f"_locks/{InnerPath(name)}.lock"), timeout)

    def unwritable(self, name: str) -> str | None:
        """Why nothing can be made under a name here, by the permissions of its folder, its work directory and lock."""
        for place in (self._at(name), self._at(f"_work/{name}"), self._at(f"_locks/{name}.lock")):
            there = next(folder for folder in (place, *place.parents) if folder.exists())
            if not os.access(there, os.W_OK if there.is_file() else os.W_OK | os.X_OK):
                mounted = os.statvfs(there).f_flag & os.ST_RDONLY
                how = "is on a read-only file system" if mounted else "may not be written by this user"
                return f"the store {self.root} can only be read here: {there} {how}"
        return None

    def open_work(self, name: str, lease: Lease, largest: int | None = None) -> Workdir:
        """The folder under _work/; the flock keeps everybody else out of it."""
        return Workdir(self._at(f"_work/{InnerPath(name)}"))

    def save_work(self, name: str, work: Workdir, lease: Lease) -> None:
        """Nothing to do: the work directory is in the store already."""

    def forget_work(self, name: str) -> None:
        """Nothing lies elsewhere."""

    def close_work(self, name: str) -> None:
        """Remove the folder."""
        clear(self._at(f"_work/{InnerPath(name)}"))


def _entries(folder: str) -> list[os.DirEntry[str]]:
    """What is in a folder; nothing in one that is not there or cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError:
        return []


def _sync_file(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
