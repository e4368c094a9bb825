"""The guard before a server's pages and API: from which page, and for whom, a request comes. An ASGI application around
another.

As `uvicorn --factory tasks.core.guard:app`, told by `GUARD` which application, and by which names it is asked for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

GUARD = "FROMZERO_GUARD"
"""Environment variable: what is guarded, as JSON (see `told`)."""
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


def told(app: str, factory: bool, hosts: Iterable[str]) -> dict[str, str]:
    """The environment of a guard: `app` is MODULE:NAME, `hosts` the Host headers by which it is asked for."""
    return {GUARD: json.dumps({"app": app, "factory": factory, "hosts": sorted(hosts)})}


def app() -> App:
    """The guarded application that the environment names."""
    asked = json.loads(os.environ[GUARD])
    module, _, name = asked["app"].partition(":")
    inner = getattr(import_module(module), name)
    return Guard(inner() if asked["factory"] else inner, asked["hosts"])


class Guard:
    """Lets through what comes from the application's own pages, or from no page."""

    def __init__(self, inner: App, hosts: Iterable[str]) -> None:
        self.inner, self.hosts = inner, frozenset(hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, one WebSocket, or the life of the application."""
        why = self._foreign(_headers(scope)) if scope["type"] in ("http", "websocket") else None
        if why is None:
            await self.inner(scope, receive, send)
        elif scope["type"] == "http":
            await _refuse(send, why)
        else:
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": why})

    def _foreign(self, headers: dict[str, str]) -> str | None:
        """Why a request comes from a page that is not ours, or for a name that is not; None if it does not."""
        if headers.get("host", "").lower() not in self.hosts:
            return "this server is not asked for by that name: give `fromzero up names=[NAME]` if it is yours"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() not in self.hosts:
            return "a page of another site asks"
        if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
            return "a page of another site asks"
        return None


def _headers(scope: Scope) -> dict[str, str]:
    """By name in lower case; of several with one name none counts, as it would depend on who reads them."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1").lower()
        found[key] = value.decode("latin-1") if key not in found else "\n"
    return found


async def _refuse(send: Send, why: str) -> None:
    body = why.encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})
