"""One S3 bucket: conditional writes and verified transfers."""

from __future__ import annotations

import base64
import hashlib
import os
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, suppress
from datetime import datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import boto3
from botocore import exceptions as boto
from botocore.config import Config
from botocore.loaders import Loader
from botocore.session import get_session

from tasks.core.artifact import FileEntry
from tasks.core.errors import ArtifactError, ConfigError, Conflict, FromzeroError, Transient
from tasks.core.store.listed import Listing
from tasks.core.store.s3_errors import SETTINGS, sorted_errors

T = TypeVar("T")
ANY = "*"
"""In place of an etag: whatever is there."""
MOST_PARTS = 10_000
"""S3 takes no more parts in one upload."""
_LOADER = Loader()
"""Shared by all clients: reading S3's description takes longer than all else that makes a client."""


class Found(NamedTuple):
    """An object as it was read."""

    data: bytes
    etag: str
    age: float
    """Seconds between its last change and this look, both by the server's clock; each is cut to whole seconds."""


class Bucket:
    """The objects of one bucket under `prefix`; names are relative to it.

    All methods raise `Transient` when the server cannot be reached or fails (after `attempts` tries with growing
    pauses), `ConfigError` when it refuses, and `FileNotFoundError` where an object must be there and is not.
    """

    def __init__(
        self,
        name: str,
        prefix: str = "",
        endpoint: str | None = None,
        region: str | None = None,
        *,
        attempts: int = 8,
        timeout: float = 60.0,
        part_mb: int = 16,
        connections: int = 8,
    ) -> None:
        self.name = name
        self.prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self.where = f"s3://{name}/{self.prefix} at {endpoint or 'AWS'}"
        self.part = part_mb << 20
        self.connections = connections
        self.attempts = attempts
        options = Config(
            retries={"mode": "standard", "total_max_attempts": attempts},
            connect_timeout=min(timeout, 10.0),
            read_timeout=timeout,
            max_pool_connections=connections + 2,
            request_checksum_calculation="when_required",
            s3={"addressing_style": "path" if endpoint else "auto"},
        )
        try:
            core = get_session()
            core.register_component("data_loader", _LOADER)
            session = boto3.session.Session(botocore_session=core, region_name=region)
            self.client: Any = session.client("s3", endpoint_url=endpoint, config=options)
        except (ValueError, *SETTINGS) as error:
            raise ConfigError(f"store {self.where}: {error}") from error

    def _sorted(self, name: str) -> AbstractContextManager[None]:
        return sorted_errors(self.where, name)

    # small objects

    def get(self, name: str) -> Found:
        """A whole object with its etag and age."""
        answer, data = self._read(name, ChecksumMode="ENABLED")
        return Found(data, answer["ETag"], (_date(answer) - answer["LastModified"]).total_seconds())

    def _read(self, name: str, **options: Any) -> tuple[Any, bytes]:
        tries = 0
        while True:
            with self._sorted(name):
                answer = self.client.get_object(Bucket=self.name, Key=self.prefix + name, **options)
                try:
                    return answer, answer["Body"].read()
                except boto.BotoCoreError:  # boto3 does not try a broken-off body again
                    tries += 1
                    if tries >= self.attempts:
                        raise

    def put(self, name: str, data: bytes, etag: str | None) -> str:
        """Write if the object still has `etag` (None: if there is none, `ANY`: in any case); raises `Conflict`; the new
        etag."""
        nonce = uuid.uuid4().hex
        condition = {"IfNoneMatch": "*"} if etag is None else {"IfMatch": etag} if etag != ANY else {}
        try:
            with self._sorted(name):
                answer = self.client.put_object(
                    Bucket=self.name,
                    Key=self.prefix + name,
                    Body=data,
                    ChecksumSHA256=_base64(hashlib.sha256(data).digest()),
                    Metadata={"nonce": nonce},
                    **condition,
                )
            return str(answer["ETag"])
        except (Conflict, FileNotFoundError):
            # A write whose answer was lost is tried again by boto3 and collides with itself: the nonce tells.
            found = self._head(name)
            if found is None or found["Metadata"].get("nonce") != nonce:
                raise Conflict(f"{name} was changed by another writer") from None
            return str(found["ETag"])

    def _head(self, name: str) -> Any:
        try:
            with self._sorted(name):
                return self.client.head_object(Bucket=self.name, Key=self.prefix + name, ChecksumMode="ENABLED")
        except FileNotFoundError:
            return None

    def _pages(self, operation: str, prefix: str, **options: Any) -> Iterator[dict[str, Any]]:
        pages = self.client.get_paginator(operation)
        with self._sorted(prefix):
            yield from pages.paginate(Bucket=self.name, Prefix=self.prefix + prefix, **options)

    def names(self, prefix: str) -> Listing:
        """All names under a prefix with their sizes and etags, page by page."""
        found = Listing()
        for page in self._pages("list_objects_v2", prefix):
            for item in page.get("Contents", ()):
                if not item["Key"].endswith("/"):
                    name = item["Key"].removeprefix(self.prefix)
                    found[name], found.etags[name] = item["Size"], item["ETag"]
        return found

    def side_by_side(self, work: Callable[[str], T], names: Sequence[str]) -> list[T]:
        """Requests about several names at once, as many as there are connections; the answers in order."""
        if len(names) < 2:
            return [work(name) for name in names]
        with ThreadPoolExecutor(min(self.connections, len(names))) as pool:
            return list(pool.map(work, names))

    def folders(self, prefix: str) -> list[str]:
        """The folders right below a prefix that ends with a slash, each with its slash."""
        found: list[str] = []
        for page in self._pages("list_objects_v2", prefix, Delimiter="/"):
            found += [item["Prefix"].removeprefix(self.prefix) for item in page.get("CommonPrefixes", ())]
        return found

    def ages(self, prefix: str) -> dict[str, float]:
        """All names under a prefix with the seconds since each was written or, if never completed, begun."""
        found: dict[str, float] = {}
        for operation, items, time in (
            ("list_objects_v2", "Contents", "LastModified"),
            ("list_multipart_uploads", "Uploads", "Initiated"),
        ):
            for page in self._pages(operation, prefix):
                for item in page.get(items, ()):
                    found[item["Key"].removeprefix(self.prefix)] = (_date(page) - item[time]).total_seconds()
        return found

    def delete(self, names: Sequence[str]) -> None:
        """Remove objects, a thousand at a time; those that are gone already do not matter."""
        for start in range(0, len(names), 1000):
            batch = [{"Key": self.prefix + name} for name in names[start : start + 1000]]
            with self._sorted(names[start]):
                answer = self.client.delete_objects(Bucket=self.name, Delete={"Objects": batch, "Quiet": True})
                for failed in answer.get("Errors", ()):
                    raise boto.ClientError({"Error": failed}, "DeleteObjects")

    def abort_uploads(self, prefix: str) -> None:
        """Drop the parts of uploads under a prefix that were never completed."""
        found = [
            {"Bucket": self.name, "Key": item["Key"], "UploadId": item["UploadId"]}
            for page in self._pages("list_multipart_uploads", prefix)
            for item in page.get("Uploads", ())
        ]
        for upload in found:
            with suppress(FileNotFoundError), self._sorted(prefix):
                self.client.abort_multipart_upload(**upload)

    # files

    def upload(self, jobs: Iterable[tuple[Path, str, FileEntry]]) -> None:
        """Copy the first `size` bytes of local files into objects; the server checks what arrives.

        Raises `ArtifactError` if a file is no longer the one that its entry describes; nothing half-made stays.
        """
        with ThreadPoolExecutor(self.connections) as pool:
            try:
                small: list[Future[None]] = []
                for path, name, entry in jobs:
                    if entry.size > self.part:
                        self._upload_parts(pool, path, name, entry)
                    else:
                        small.append(pool.submit(self._upload_whole, path, name, entry))
                for future in small:
                    future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _upload_whole(self, path: Path, name: str, entry: FileEntry) -> None:
        with path.open("rb") as file:
            data = file.read(entry.size)
        digest = hashlib.sha256(data)
        if digest.hexdigest() != entry.sha256:
            raise ArtifactError(f"{path} was changed while it was being copied to {self.where}")
        with self._sorted(name):
            self.client.put_object(
                Bucket=self.name, Key=self.prefix + name, Body=data, ChecksumSHA256=_base64(digest.digest())
            )

    def _upload_parts(self, pool: ThreadPoolExecutor, path: Path, name: str, entry: FileEntry) -> None:
        where = {"Bucket": self.name, "Key": self.prefix + name}
        with self._sorted(name):
            where["UploadId"] = self.client.create_multipart_upload(**where, ChecksumAlgorithm="SHA256")["UploadId"]
        pending: deque[Future[dict[str, Any]]] = deque()
        try:
            whole, parts = hashlib.sha256(), []
            step = max(self.part, -(-entry.size // MOST_PARTS))
            for number, data in enumerate(file_pieces(path, entry.size, step), 1):
                whole.update(data)
                if len(pending) >= self.connections:
                    parts.append(pending.popleft().result())
                pending.append(pool.submit(self._upload_part, name, where | {"PartNumber": number}, data))
            parts += [future.result() for future in pending]
            if whole.hexdigest() != entry.sha256:
                raise ArtifactError(f"{path} was changed while it was being copied to {self.where}")
            self._complete(name, where, parts, entry)
        except BaseException:
            for future in pending:
                future.cancel()
            wait(pending)
            with suppress(FromzeroError, FileNotFoundError), self._sorted(name):  # the first error is the one to tell
                self.client.abort_multipart_upload(**where)
            raise

    def _upload_part(self, name: str, where: dict[str, Any], data: bytes) -> dict[str, Any]:
        checksum = _base64(hashlib.sha256(data).digest())
        with self._sorted(name):
            answer = self.client.upload_part(**where, Body=data, ChecksumSHA256=checksum)
        return {"ETag": answer["ETag"], "PartNumber": where["PartNumber"], "ChecksumSHA256": checksum}

    def _complete(self, name: str, where: dict[str, Any], parts: list[dict[str, Any]], entry: FileEntry) -> None:
        # NoSuchUpload: an attempt whose answer was lost has completed it, or it is gone; the object tells which.
        with suppress(FileNotFoundError), self._sorted(name):
            self.client.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
        digests = b"".join(base64.b64decode(part["ChecksumSHA256"]) for part in parts)
        expected = f"{_base64(hashlib.sha256(digests).digest())}-{len(parts)}"
        found = self._head(name)
        if found is None or found["ContentLength"] != entry.size or found.get("ChecksumSHA256", expected) != expected:
            raise Transient(f"{name} did not arrive whole in {self.where}; it is sent again at the next try")

    def download(self, jobs: Iterable[tuple[str, Path, FileEntry]], staging: Path) -> None:
        """Bring objects to local files, each moved out of `staging` only after its size and sha256 were verified.

        Raises `ArtifactError` naming the object if its bytes are not those of the entry.
        """
        staging.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(self.connections) as pool:
            try:
                for future in [pool.submit(self._download, *job, staging) for job in jobs]:
                    future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _download(self, name: str, target: Path, entry: FileEntry, staging: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = staging / uuid.uuid4().hex
        digest = hashlib.sha256()
        try:
            with temporary.open("wb") as file:
                for data in self.pieces(name, entry.size):
                    digest.update(data)
                    file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if digest.hexdigest() != entry.sha256:
                raise ArtifactError(f"{name} in {self.where} has other bytes than when it was made")
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)

    def pieces(self, name: str, size: int) -> Iterator[bytes]:
        """The first `size` bytes of an object, piece by piece."""
        for start in range(0, size, self.part):
            yield self._read(name, Range=f"bytes={start}-{min(start + self.part, size) - 1}")[1]


def _date(answer: Any) -> datetime:
    return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def file_pieces(path: Path, size: int, step: int) -> Iterator[bytes]:
    """The first `size` bytes of a file, `step` bytes at a time."""
    with path.open("rb") as file:
        for start in range(0, size, step):
            yield file.read(min(step, size - start))
