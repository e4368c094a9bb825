"""A proxy before an S3 server that can be slow, fail, or break answers off: what networks and busy servers do."""

from __future__ import annotations

import asyncio
import random
import re
import threading
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.ports import free_ports

REQUEST = re.compile(rb"(GET|HEAD|PUT|POST|DELETE) \S+ HTTP/1\.1\r\n")
"""How a request begins: nobody sends a second one before the answer to the first is there."""
BUSY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
REFUSAL = b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n%s\r\n\r\n%s" % (
    len(BUSY), b"Connection: close", BUSY
)  # fmt: skip
LONGEST = 20_000
"""Bytes after which an answer that is broken off ends, at most; a shorter one may come whole."""


@dataclass(frozen=True)
class Trouble:
    """What happens to requests."""

    kind: str = ""
    """slow: each waits; failing: the answer is 503; truncating: the answer breaks off. Empty: nothing."""
    share: float = 1.0
    """Of all requests, drawn for each."""
    seconds: float = 0.0
    """How long a slow one waits, at most."""


class S3Proxy:
    """Passes bytes on between clients and the server on a port; use as a context manager. `trouble` may change."""

    def __init__(self, port: int, seed: int = 0) -> None:
        (self.port,) = free_ports(1)
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.trouble = Trouble()
        self.hit = 0
        """Requests that something has happened to."""
        self._to, self._chance = port, random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="s3 proxy", daemon=True)
        self._ready = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", self.port))
        self._ready.set()
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            server, to_server = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:  # it is down: whoever asks finds the connection closed
            to_client.close()
            return
        left: list[int | None] = [None]
        """How many bytes of the answer are still passed on."""
        ways = [
            asyncio.create_task(self._requests(client, to_client, to_server, left)),
            asyncio.create_task(self._answers(server, to_client, left)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            for writer in (to_client, to_server):
                with suppress(RuntimeError):
                    writer.close()

    async def _requests(
        self, client: asyncio.StreamReader, back: asyncio.StreamWriter, on: asyncio.StreamWriter, left: list[int | None]
    ) -> None:
        with suppress(OSError):
            while data := await client.read(1 << 16):
                trouble = self.trouble
                if trouble.kind and REQUEST.match(data) and self._chance.random() < trouble.share:
                    self.hit += 1
                    if trouble.kind == "slow":
                        await asyncio.sleep(self._chance.uniform(0, trouble.seconds))
                    elif trouble.kind == "failing":
                        back.write(REFUSAL)
                        await back.drain()
                        return
                    else:
                        left[0] = self._chance.randrange(LONGEST)
                on.write(data)
                await on.drain()

    async def _answers(self, server: asyncio.StreamReader, back: asyncio.StreamWriter, left: list[int | None]) -> None:
        with suppress(OSError):
            while data := await server.read(1 << 16):
                if left[0] is not None:
                    data, left[0] = data[: left[0]], left[0] - len(data)
                back.write(data)
                await back.drain()
                if left[0] is not None and left[0] <= 0:
                    return
