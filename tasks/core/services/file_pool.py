"""Files kept by their sha256 below one folder: each once, checked when it comes and when it goes."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path

from tasks.core.artifact import hash_file
from tasks.core.errors import ArtifactError


class FilePool:
    """What a backup keeps: FOLDER/ab/abcd…, the name of each file its hash."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def at(self, sha256: str) -> Path:
        """Where the file of this hash is, or would be."""
        return self.root / sha256[:2] / sha256

    def put(self, path: Path, sha256: str | None = None) -> str:
        """Keep a file's bytes, fsynced; its hash. One whose hash is known and here is not read.

        Raises `ArtifactError` if its bytes are not those of the hash that was given.
        """
        if sha256 is not None and self.at(sha256).exists():
            return sha256
        self.root.mkdir(parents=True, exist_ok=True)
        part = self.root / f".{uuid.uuid4().hex}"
        try:
            shutil.copyfile(path, part)
            found = hash_file(part)
            if sha256 not in (None, found):
                raise ArtifactError(f"{path} has other bytes than when it was made")
            _sync(part)
            there = self.at(found)
            there.parent.mkdir(exist_ok=True)
            if not there.exists() or hash_file(there) != found:
                part.replace(there)
        finally:
            part.unlink(missing_ok=True)
        return found

    def put_bytes(self, data: bytes) -> str:
        """Keep these bytes; their hash."""
        self.root.mkdir(parents=True, exist_ok=True)
        part = self.root / f".{uuid.uuid4().hex}"
        part.write_bytes(data)
        try:
            return self.put(part)
        finally:
            part.unlink()

    def read(self, sha256: str) -> bytes:
        """A small file; raises `ArtifactError` if it is damaged or gone."""
        part = self.root / f".{uuid.uuid4().hex}"
        self.get(sha256, part)
        try:
            return part.read_bytes()
        finally:
            part.unlink()

    def get(self, sha256: str, target: Path) -> None:
        """Write the file's bytes to `target`, fsynced, and read them again; raises `ArtifactError` if they differ."""
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(self.at(sha256), target)
        except FileNotFoundError:
            raise ArtifactError(f"the backup is not whole: {self.at(sha256)} is gone") from None
        _sync(target)
        if hash_file(target) != sha256:
            target.unlink()
            raise ArtifactError(f"the backup is damaged: {self.at(sha256)} has other bytes than when it was made")


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
