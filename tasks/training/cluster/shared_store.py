"""The store through which the processes of a training by several machines find each other: keys and bytes, no pickles.

It listens on one address, speaks TLS 1.3, and both sides show a certificate: one that only the secret of a home makes
which all of them have, or one of each that stands in the bucket which all of them write. Who has neither can neither
join, nor read along, nor pose as the first machine.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from torch._C._distributed_c10d import Store
from torch.distributed import DistNetworkError, DistStoreError

from tasks.core.errors import FromzeroError
from tasks.training.cluster.node_identity import context

LIMIT = 2**24
"""Bytes of one request or answer, at most."""
SLICE = 0.5
"""Seconds of one wait at the server; a longer one is several, between which others of this process are served."""
CONNECT = 10.0
"""Seconds in which a connection must stand."""


class StoreServer:
    """The store, in a thread of the first machine's agent."""

    def __init__(
        self, address: str, port: int, identity_file: Path, newcomers: Callable[[], Iterable[str]] = tuple
    ) -> None:
        """Listen on this address alone; raises `OSError` if that cannot be.

        Let in is who has the same certificate, and who has one of those that `newcomers` gives: it is asked before each
        connection for what it has not given yet.
        """
        self._values: dict[str, bytes] = {}
        self._changed: asyncio.Event | None = None
        self._newcomers, self._greeted = newcomers, set[asyncio.Task[None]]()
        self._context = context(ssl.PROTOCOL_TLS_SERVER, identity_file)
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = socket.create_server((address, port), family=family, backlog=1024)
        threading.Thread(target=lambda: asyncio.run(self._listen()), name="shared store", daemon=True).start()

    async def _listen(self) -> None:
        self._changed = asyncio.Event()
        self._socket.setblocking(False)
        loop = asyncio.get_running_loop()
        while True:
            with suppress(OSError):  # who has hung up already
                plain, _ = await loop.sock_accept(self._socket)
                task = loop.create_task(self._greet(plain))
                self._greeted.add(task)
                task.add_done_callback(self._greeted.discard)

    async def _greet(self, plain: socket.socket) -> None:
        """Take one connection, of whom was let in since the last one too."""
        try:
            for paper in await asyncio.to_thread(lambda: list(self._newcomers())):
                self._context.load_verify_locations(cadata=paper)
        except (FromzeroError, OSError, ValueError) as error:  # the others are not to wait for it
            print(f"who else takes part in this training cannot be seen: {error}", flush=True)
        reader = asyncio.StreamReader(limit=LIMIT)
        protocol = asyncio.StreamReaderProtocol(reader, self._serve)
        with suppress(OSError, TimeoutError):  # not one of ours
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol, plain, ssl=self._context, ssl_handshake_timeout=CONNECT
            )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                answer = await self._answer(**json.loads(line))
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):  # that process is gone
            return
        finally:
            writer.close()

    async def _answer(self, op: str, keys: list[str], values: list[str], amount: float) -> Any:
        """What is asked of the values under `keys`, to whose base64 form `values` belong."""
        given = [base64.b64decode(value) for value in values]
        if op == "wait":
            return await self._wait(keys, amount)
        if op == "get":
            return [base64.b64encode(self._values[key]).decode() for key in keys if key in self._values]
        if op == "check":
            return all(key in self._values for key in keys)
        if op == "count":
            return len(self._values)
        (key,) = keys
        if op == "delete":
            return self._values.pop(key, None) is not None
        if op == "set":
            return self._put(key, given[0])
        if op == "add":
            return int(self._put(key, str(int(self._values.get(key, b"0")) + int(amount)).encode()))
        if op == "compare_set":
            return base64.b64encode(self._compare_set(key, *given)).decode()
        raise ValueError(f"the store knows no {op!r}")

    def _put(self, key: str, value: bytes) -> str:
        assert self._changed is not None
        self._values[key] = value
        self._changed.set()
        self._changed = asyncio.Event()
        return value.decode("latin-1")

    def _compare_set(self, key: str, expected: bytes, desired: bytes) -> bytes:
        """As torch's own stores have it: a key that is not there takes the value if nothing is expected."""
        found = self._values.get(key)
        if found == expected or (found is None and not expected):
            self._put(key, desired)
            return desired
        return expected if found is None else found

    async def _wait(self, keys: list[str], seconds: float) -> bool:
        end = time.monotonic() + seconds
        while not all(key in self._values for key in keys):
            assert self._changed is not None
            try:
                await asyncio.wait_for(self._changed.wait(), max(0.0, end - time.monotonic()))
            except TimeoutError:
                return False
        return True


class SharedStore(Store):
    """The store as a process sees it; may be used from several threads, also those of torch.

    Raises `DistNetworkError` when the first machine is gone or does not have the secret, `DistStoreError` when a key
    does not come in time.
    """

    def __init__(self, host: str, port: int, identity_file: Path, trusted: Path | None = None) -> None:
        """Join as who has an identity, at a first machine whose certificate is in `trusted` (None: the same)."""
        super().__init__()
        self._lock, self._where = threading.Lock(), f"{host}:{port}"
        try:
            plain = socket.create_connection((host, port), timeout=CONNECT)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket = context(ssl.PROTOCOL_TLS_CLIENT, identity_file, trusted).wrap_socket(plain)
        except OSError as error:
            raise DistNetworkError(f"the training's store at {self._where} cannot be joined: {error}") from error
        self._socket.settimeout(60.0)
        self._file = self._socket.makefile("rb")
        self._ask("count")

    @property
    def local_address(self) -> str:
        """The address by which this machine reaches the first one."""
        return str(self._socket.getsockname()[0])

    def _ask(self, op: str, keys: Sequence[str] = (), values: Sequence[bytes | str] = (), amount: float = 0) -> Any:
        plain = [base64.b64encode(v.encode() if isinstance(v, str) else v).decode() for v in values]
        request = json.dumps({"op": op, "keys": list(keys), "values": plain, "amount": amount}).encode()
        with self._lock:
            try:
                self._socket.sendall(request + b"\n")
                line = self._file.readline()
            except (OSError, ValueError) as error:
                raise DistNetworkError(f"the training's store at {self._where}: connection reset: {error}") from error
        if not line:
            raise DistNetworkError(f"the training's store at {self._where}: connection closed by peer")
        return json.loads(line)

    def set(self, key: str, value: bytes | str) -> None:
        """Put a value under a key."""
        self._ask("set", [key], [value])

    def get(self, key: str) -> bytes:
        """The value under a key, waited for."""
        while True:
            self.wait([key])
            if found := self._ask("get", [key]):  # else somebody has deleted it since
                return base64.b64decode(found[0])

    def wait(self, keys: list[str], timeout: timedelta | None = None) -> None:
        """Wait until all keys are there."""
        limit = (timeout or self.timeout).total_seconds()  # type: ignore[attr-defined]
        end = time.monotonic() + limit
        while not self._ask("wait", keys, amount=min(SLICE, max(0.0, end - time.monotonic()))):
            if time.monotonic() >= end:
                raise DistStoreError(f"the training's store at {self._where}: timed out after {limit:g} s for {keys}")

    def check(self, keys: list[str]) -> bool:
        """Whether all keys are there."""
        return bool(self._ask("check", keys))

    def add(self, key: str, value: int) -> int:
        """Count up; the new number."""
        return int(self._ask("add", [key], amount=value))

    def compare_set(self, key: str, expected_value: bytes | str, desired_value: bytes | str) -> bytes:
        """Put a value in the place of the expected one; what is there afterwards."""
        return base64.b64decode(self._ask("compare_set", [key], [expected_value, desired_value]))

    def delete_key(self, key: str) -> bool:
        """Whether there was such a key."""
        return bool(self._ask("delete", [key]))

    def num_keys(self) -> int:
        """How many keys there are."""
        return int(self._ask("count"))

    def multi_get(self, keys: list[str]) -> list[bytes]:
        """The values under keys, waited for."""
        return [self.get(key) for key in keys]

    def clone(self) -> Store:
        """Itself: it may be shared."""
        return self
