"""Leases as objects on S3: conditional writes, expiry by the server's clock, an epoch that grows."""

from __future__ import annotations

import json
import logging
import os
import random
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import Any, Self

from tasks.core.artifact import canonical
from tasks.core.errors import ArtifactError, Conflict, FromzeroError
from tasks.core.store.lease import FileLease, stopping
from tasks.core.store.s3_bucket import Bucket

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
"""A machine that slept must find its leases expired, where it can know."""
LOOK_EVERY = 2.0
"""Seconds between looks whether a lease is free, at most."""
BOOT = Path("/proc/sys/kernel/random/boot_id")
log = logging.getLogger(__name__)


def _now() -> float:
    return time.clock_gettime(_CLOCK)


def expired(age: float, seconds: float) -> bool:
    """Whether a lease of that term, last written `age` seconds ago by the server's clock, may be taken over.

    Both times behind an age are cut to whole seconds, so that it may be measured up to one second too long.
    """
    return age > seconds + 1


def longest_wait(seconds: float) -> float:
    """Seconds from a holder's last sign of life until another, who keeps asking, has seen that the lease is free.

    Its age may be measured up to one second too short, and has to be a whole number of seconds above the term and one.
    """
    return seconds + 3 + LOOK_EVERY


class S3Lease:
    """An object that its holder rewrites every third of `seconds`, and that anybody may take over once it is older.

    A lock on a local file is held with it: processes on one machine exclude each other by that, also after the lease
    was lost, and children that inherit its descriptor count as the holder.
    """

    def __init__(self, bucket: Bucket, name: str, body: dict[str, Any], local: FileLease) -> None:
        self.epoch: int = body["epoch"]
        self._bucket, self._name, self._body, self._local = bucket, name, body, local
        self._seconds: float = body["seconds"]
        self._etag: str | None = None
        self._expires = 0.0
        self._lost, self._done = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease {name}", daemon=True)

    @property
    def fds(self) -> tuple[int, ...]:
        """The descriptor of the local lock."""
        return self._local.fds

    def held(self) -> bool:
        """False for good once another holder was seen, or the last renewal is `seconds` old."""
        if _now() >= self._expires:
            self._lost.set()
        return not self._lost.is_set()

    def start(self, etag: str | None) -> None:
        """Write the first time, over the object with `etag`, and go on renewing; raises `Conflict`."""
        self._etag = etag
        self._write()
        self._thread.start()

    def _write(self, **changes: Any) -> None:
        begun = _now()  # not later than the server's LastModified: the holder stops before another may begin
        body = self._body | {"nonce": uuid.uuid4().hex} | changes
        self._etag = self._bucket.put(self._name, canonical(body), self._etag)
        self._expires = begun + self._seconds

    def _keep(self) -> None:
        pause = self._seconds / 3
        while not self._done.wait(pause) and self.held():
            try:
                self._renew()
                pause = self._seconds / 3
            except FileNotFoundError:
                self._lost.set()
            except FromzeroError as error:
                log.warning("lease %s could not be renewed, trying again: %s", self._name, error)
                pause = self._seconds / 10

    def _renew(self) -> None:
        try:
            self._write()
        except Conflict:  # lost, or one of S3's passing 409s
            found = self._bucket.get(self._name)
            if _parse(found.data, self._name)["token"] != self._body["token"]:
                self._lost.set()
                return
            self._etag = found.etag
            raise

    def release(self) -> None:
        """Mark the object as free and give the local lock back."""
        if self._local.fd is None:
            return
        self._done.set()
        try:
            self._thread.join()
            if self.held():
                self._write(released=True)
        except FromzeroError as error:
            log.warning("lease %s could not be given back, it expires by itself: %s", self._name, error)
        finally:
            self._lost.set()
            self._local.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def acquire(
    bucket: Bucket, quick: Bucket, name: str, seconds: float, local: FileLease, timeout: float | None
) -> S3Lease:
    """Take the lease object `name`, waiting up to `timeout` seconds (None: for ever); raises `Conflict`.

    It is free if there is none, if it is marked as released, if it is older than its holder's term by the server's
    clock, or if its holder locked the same local file, which is `local`'s now, and is therefore dead.
    `quick` is the same bucket with little patience, for renewals.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = 0.1
    body = {"token": uuid.uuid4().hex, "holder": f"{socket.gethostname()} (process {os.getpid()})", "released": False}
    body |= {"place": _place(local), "seconds": seconds}
    while True:
        held, etag = _look(bucket, name)
        ours = held["place"] and held["place"] == body["place"]
        if held["released"] or ours or expired(held["age"], held["seconds"]):
            lease = S3Lease(quick, name, body | {"epoch": held["epoch"] + 1}, local)
            try:
                lease.start(etag)
                return lease
            except Conflict:
                held["holder"] = "another run"
        left = float("inf") if deadline is None else deadline - time.monotonic()
        if left <= 0 or stopping.wait(min(pause * random.uniform(0.5, 1.0), left)):
            raise Conflict(f"{name} is held by {held['holder']}")
        pause = min(pause * 1.5, LOOK_EVERY, seconds / 3)


def _look(bucket: Bucket, name: str) -> tuple[dict[str, Any], str | None]:
    try:
        found = bucket.get(name)
    except FileNotFoundError:
        return {"epoch": 0, "released": True, "place": "", "holder": "nobody"}, None
    return _parse(found.data, name) | {"age": found.age}, found.etag


def _parse(data: bytes, name: str) -> dict[str, Any]:
    try:
        body: dict[str, Any] = json.loads(data)
        if not {"token", "holder", "released", "place", "seconds", "epoch"} <= body.keys():
            raise ValueError("it lacks fields")
    except (ValueError, AttributeError) as error:
        raise ArtifactError(f"{name} is not a lease ({error}); remove the object when no run is alive") from error
    return body


def _place(local: FileLease) -> str:
    """What identifies the locked file for one boot of one machine; empty where that cannot be told."""
    if local.fd is None or not BOOT.exists():
        return ""
    found = os.fstat(local.fd)
    return f"{BOOT.read_text().strip()}:{found.st_dev}:{found.st_ino}"
