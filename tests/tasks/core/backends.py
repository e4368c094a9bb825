"""Both backends behind one face, so that one suite holds for both, also in other processes."""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any, Self

from tasks.core.artifact import FileEntry, Manifest, hash_file
from tasks.core.store.local import LocalBackend
from tasks.core.store.store import Backend, Store
from tasks.core.workdir import Workdir

MB = 1 << 20
CROWD = 8
"""Processes that race."""


class Place(ABC):
    """Where a store of a test is; goes to other processes as it is."""

    home: Path

    @abstractmethod
    def backend(self) -> Backend:
        """A backend on this place."""

    @abstractmethod
    def elsewhere(self, name: str) -> Self:
        """The same store as another machine sees it."""

    @abstractmethod
    def put(self, name: str, data: bytes) -> None:
        """Write behind the store's back."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Remove one file behind the store's back."""

    def store(self) -> Store:
        """A store on this place."""
        return Store(self.backend())

    def workdir(self, name: str) -> Workdir:
        """An empty work directory that belongs to no lease."""
        work = Workdir(self.home / "drafts" / name)
        work.make()
        return work


@dataclass(frozen=True)
class LocalPlace(Place):
    """A folder."""

    home: Path

    def backend(self) -> LocalBackend:
        return LocalBackend(self.home / "store")

    def elsewhere(self, name: str) -> Self:
        return self

    def put(self, name: str, data: bytes) -> None:
        path = self.home / "store" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def delete(self, name: str) -> None:
        (self.home / "store" / name).unlink()


@dataclass(frozen=True)
class S3Place(Place):
    """A prefix in a bucket, and a machine's folder."""

    home: Path
    endpoint: str
    bucket: str
    prefix: str
    lease_seconds: float = 60.0
    attempts: int = 8

    def backend(self) -> Any:
        return s3_backend(self)

    def elsewhere(self, name: str) -> Self:
        return replace(self, home=self.home / name)

    def put(self, name: str, data: bytes) -> None:
        client = self.backend().bucket.client
        client.put_object(Bucket=self.bucket, Key=f"{self.prefix}/{name}", Body=data)
        shutil.rmtree(self.home / "cache", ignore_errors=True)

    def delete(self, name: str) -> None:
        self.backend().bucket.client.delete_object(Bucket=self.bucket, Key=f"{self.prefix}/{name}")
        shutil.rmtree(self.home / "cache", ignore_errors=True)


@lru_cache(maxsize=64)
def s3_backend(place: S3Place) -> Any:
    """One backend for each place and process."""
    from tasks.core.store.s3 import S3Backend

    return S3Backend(
        place.bucket,
        place.prefix,
        place.home,
        place.endpoint,
        lease_seconds=place.lease_seconds,
        part_mb=5,
        attempts=place.attempts,
        connections=4,
    )


def publish(place: Place, key: str, text: str = "one\n", step: str = "clean", over: Manifest | None = None) -> Manifest:
    """Make and publish a small artifact: content/docs.txt, content/train/part.txt and aux/seconds.txt."""
    import uuid

    work = place.workdir(uuid.uuid4().hex)
    (work / "docs.txt").write_text(text)
    (work / "train/part.txt").write_text(f"{text} for training")
    (work.aux / "seconds.txt").write_text("12")
    return place.store().publish(work, draft(step, key), over)


def draft(step: str, key: str) -> Manifest:
    """A manifest as a maker hands it in."""
    return Manifest(step, key, {"code": "0"}, "", "", (), {"rows": 1}, (), {"host": "here"})


_gate: Barrier | None = None


def _wait_at(gate: Barrier) -> None:
    global _gate
    _gate = gate


def _together(work: Callable[..., Any], number: int, arguments: Sequence[Any]) -> Any:
    assert _gate is not None
    _gate.wait(600)  # the first time, all of them are still importing
    return work(number, *arguments)


class Crowd:
    """Real processes that start on one signal."""

    def __init__(self) -> None:
        context = get_context("spawn")
        gate = context.Barrier(CROWD)
        self._pool = ProcessPoolExecutor(CROWD, context, initializer=_wait_at, initargs=(gate,))

    def run(self, work: Callable[..., Any], *arguments: Any) -> list[Any]:
        """`work(number, *arguments)` in each of the processes at once; the results in order."""
        jobs = [self._pool.submit(_together, work, number, arguments) for number in range(CROWD)]
        return [job.result(timeout=900) for job in jobs]

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown(cancel_futures=True)


def some_file(folder: Path, name: str, size: int) -> FileEntry:
    """A file of random bytes, as a manifest names it."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(min(size, MB)) * (size // MB) if size >= MB else os.urandom(size))
    return FileEntry(name, path.stat().st_size, hash_file(path))
