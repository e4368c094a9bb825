"""Prefect's results, locks and cache keys, over the store: artifacts, leases and keys."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import uuid4

from prefect.cache_policies import CachePolicy
from prefect.filesystems import WritableFileSystem
from prefect.locking.protocol import LockManager
from prefect.results import ResultRecord, ResultRecordMetadata  # type: ignore[attr-defined]
from prefect.serializers import JSONSerializer
from pydantic import PrivateAttr

from tasks.core.artifact import Artifact, Manifest
from tasks.core.engine.workspace import Report
from tasks.core.errors import Conflict, FromzeroError
from tasks.core.store.lease import Lease, stopping
from tasks.core.store.store import Miss, Store


class Host(Protocol):
    """The engine, as far as its results and locks need it."""

    store: Store
    report: Report

    def served(self, path: str) -> Manifest | None:
        """The artifact that was found whole before its task began: a hit, which needs no lease."""

    def whole(self, path: str) -> Manifest | Miss:
        """The artifact, with all of its files there."""

    def failed(self, key: str, error: Exception) -> FromzeroError:
        """The error in our tree, kept for what the call ends with."""


class Records(WritableFileSystem):
    """Prefect's view of the store: a result exists while its artifact is whole, and is never written twice."""

    _block_type_slug = "fromzero-store"
    _engine: Host = PrivateAttr()

    def _resolve_path(self, path: str) -> None:
        return None

    def read_path(self, path: str, **_: Any) -> bytes:  # type: ignore[override]
        """Prefect's record, made from the manifest; raises `FileNotFoundError` unless the artifact is whole."""
        found = self._engine.served(path) or self._engine.whole(path)
        if isinstance(found, Miss):
            raise FileNotFoundError(found.reason)
        metadata = ResultRecordMetadata(storage_key=path, serializer=JSONSerializer())
        return bytes(ResultRecord(result=Artifact.of(found).ref(), metadata=metadata).serialize())

    def write_path(self, path: str, content: bytes, **_: Any) -> None:  # type: ignore[override]
        """Nothing to write: a body ends well only once its manifest, which is the record, is there."""


class Locks(LockManager):
    """Prefect's locks are the store's leases; a hit has none.

    A lease keeps two from making one thing, and a miss is therefore looked at again once it is held. What is published
    stays as it is, so a look at it is right without; and what is removed after the look was no safer before, when the
    lease ended with the task, long before anybody read the files: whoever does looks again.
    """

    def __init__(self, engine: Host) -> None:
        self.engine = engine
        self.leases: dict[str, Lease] = {}
        self._holders: dict[str, str] = {}

    def acquire_lock(
        self, key: str, holder: str, acquire_timeout: float | None = None, hold_timeout: float | None = None
    ) -> bool:
        """Take the lease, saying so if another run has it; an error is sorted into our tree and kept for the engine."""
        if self.engine.served(key) is not None:
            return True
        try:
            try:
                lease = self.engine.store.lock(key, 0.0, lambda: self._whole(key))
            except Conflict:
                if stopping.is_set():
                    raise
                self.engine.report.line("", f"{key[: key.find('/') + 9]} is being made by another run: waiting for it")
                lease = self.engine.store.lock(key, acquire_timeout)
        except Exception as error:
            raise self.engine.failed(key, error) from error
        self.leases[key], self._holders[key] = lease, holder
        return True

    @contextmanager
    def held(self, key: str) -> Iterator[None]:
        """Hold the lease while inside, as a task of its own would."""
        holder = uuid4().hex
        self.acquire_lock(key, holder)
        try:
            yield
        finally:
            self.release_lock(key, holder)

    def _whole(self, key: str) -> bool:
        return isinstance(self.engine.whole(key), Manifest)

    async def aacquire_lock(self, *arguments: Any, **named: Any) -> bool:
        """As `acquire_lock`."""
        return self.acquire_lock(*arguments, **named)

    def release_lock(self, key: str, holder: str) -> None:
        """Give the lease back, if this holder has one."""
        if self._holders.get(key) == holder:
            del self._holders[key]
            self.leases.pop(key).release()

    def is_locked(self, key: str) -> bool:
        """This process holds the lease."""
        return key in self.leases

    def is_lock_holder(self, key: str, holder: str) -> bool:
        """This process holds the lease, or needs none: within it a key is made by one task run at a time."""
        return key in self.leases or self.engine.served(key) is not None

    def wait_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """Wait until the lease is free."""
        self.engine.store.lock(key, timeout).release()
        return True

    async def await_for_lock(self, key: str, timeout: float | None = None) -> bool:
        """As `wait_for_lock`."""
        return self.wait_for_lock(key, timeout)


@dataclass
class ByKey(CachePolicy):
    """The key was computed before the task run began; here it is only handed over."""

    def compute_key(self, task_ctx: Any, inputs: dict[str, Any], flow_parameters: dict[str, Any], **_: Any) -> str:
        return str(inputs["key"])
