"""A TCP proxy that breaks connections where a test wants them broken, and knows what was asked."""

from __future__ import annotations

import re
import socket
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

REQUEST = re.compile(rb"(GET|HEAD|PUT|POST|DELETE) \S+(?= HTTP/1)")


class CuttingProxy:
    """Forwards to a local port; answers can be cut off after so many bytes.

    With `renames` requests ask for the target by its own address, for a server that answers to no other. `asked` has
    what each HTTP request begins with; each is held up by `delay` seconds.
    """

    def __init__(self, port: int, renames: bool = False, delay: float = 0.0) -> None:
        self._target, self._renames, self.delay = port, renames, delay
        self.asked: list[str] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self.cuts = 0
        self._left, self._after = 0, 0
        self._lock = threading.Lock()

    def cut_answers(self, times: int, after: int) -> None:
        """Break the next `times` answers off once more than `after` bytes of them have come."""
        self._left, self._after = times, after

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._server.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._target))
                except OSError:  # as it would be without a proxy: this connection fails, the next one may not
                    near.close()
                    continue
                threading.Thread(target=self._forward, args=(near, far), daemon=True).start()

    def _forward(self, near: socket.socket, far: socket.socket) -> None:
        """Requests in a thread of their own, answers in this one."""
        counted = [0]
        threading.Thread(target=self._requests, args=(near, far, counted), daemon=True).start()
        with suppress(OSError):
            while data := far.recv(65536):
                counted[0] += len(data)
                if self._cut(counted[0]):
                    break
                near.sendall(data)
        for end in (near, far):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _requests(self, near: socket.socket, far: socket.socket, counted: list[int]) -> None:
        with suppress(OSError):
            while data := near.recv(65536):
                counted[0] = 0
                if line := REQUEST.match(data):
                    self.asked.append(line[0].decode())
                    time.sleep(self.delay)
                if self._renames:
                    named = self.endpoint.removeprefix("http://").encode()
                    data = data.replace(named, f"127.0.0.1:{self._target}".encode())
                far.sendall(data)

    def _cut(self, counted: int) -> bool:
        with self._lock:
            if self._left and counted > self._after:
                self._left -= 1
                self.cuts += 1
                return True
        return False
