"""The guard before a server's pages and API: who asks, from which page, for what. An ASGI application around another.

As `uvicorn --factory tasks.core.services.guard:app`, told by `GUARD` which application, on which addresses, and for
whose home.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from html import escape
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tasks.core.services import access
from tasks.core.services.access import Person

GUARD = "FROMZERO_GUARD"
"""Environment variable: what is guarded, as JSON (see `told`)."""
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = {"/api/health", "/health"}
"""Pages for everybody: they say that the server lives, and nothing more."""
SAFE = ("GET", "HEAD", "OPTIONS")
SECRETS = re.compile(r"/api/(admin\b|(.*/)?block_documents\b)")
"""Where Prefect hands out secrets and its settings, also as /api/block_types/slug/KIND/block_documents."""
LOOKS = re.compile(
    r"/api/(ui/.*|.*/(filter|count|history|lateness|paginate))"
    r"|/api/events/(filter(/next)?|count-by/[\w-]+)"
    r"|/(ajax-)?api/[23]\.0/mlflow/([\w-]+/)+(search|search-datasets|get-latest-versions|get-history-bulk-interval)"
    r"|/graphql"
)
"""What is asked by POST and changes nothing."""
PROMOTES = re.compile(
    r"/api/flow_runs/[\w-]+/resume"
    r"|/(ajax-)?api/2\.0/mlflow/(registered-models/(alias|set-tag|delete-tag|update)"
    r"|model-versions/(set-tag|delete-tag|update|transition-stage))"
)
"""What a promoter does: the answer in the form, and a model's aliases, tags and descriptions."""
RESUME = re.compile(r"/api/flow_runs/[\w-]+/resume")
STREAMS = ("/api/events/out", "/api/logs/out")
"""WebSockets that only tell."""
LOGGED_IN = "logged_in"
"""The field of a form's answer that says who was let in: the guard fills it in, whatever the browser sent."""
LARGEST_ANSWER = 2**20
"""Bytes of a form's answer, at most."""
AUTH_FAILED = 4001
"""Close code of a WebSocket whose first message is no valid login; Prefect's is the same."""


def told(app: str, factory: bool, hosts: Iterable[str], home: Path) -> dict[str, str]:
    """The environment of a guard: `app` is MODULE:NAME, `hosts` the HOST:PORT by which it is asked for."""
    return {GUARD: json.dumps({"app": app, "factory": factory, "hosts": sorted(hosts), "home": str(home)})}


def app() -> App:
    """The guarded application that the environment names."""
    asked = json.loads(os.environ[GUARD])
    module, _, name = asked["app"].partition(":")
    inner = getattr(import_module(module), name)
    return Guard(inner() if asked["factory"] else inner, asked["hosts"], Path(asked["home"]))


class Guard:
    """Lets through what comes from its own pages or from no page, and from somebody who may ask for it."""

    def __init__(self, inner: App, hosts: Iterable[str], home: Path) -> None:
        self.inner, self.hosts, self.home = inner, frozenset(hosts), home

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, one WebSocket, or the life of the application."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self.inner(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers, path = _headers(scope), scope["path"]
        if why := self._foreign(headers):
            return await _say(send, 403, why)
        if path in OPEN and scope["method"] in SAFE:
            return await self.inner(_bare(scope), receive, send)
        query = parse_qs(scope["query_string"].decode("latin-1"))
        if path == "/login" and "once" in query and scope["method"] == "GET":
            return await self._login(query, headers, send)
        person = self._who(headers)
        if person is None:
            return await self._stranger(headers, send)
        if not allowed(person.role, scope["method"], path):
            return await _say(send, 403, f"{person.name} is let in as {person.role}, which this is not for")
        if scope["method"] == "POST" and RESUME.fullmatch(path):
            receive = await _signed(receive, person)
        await self.inner(_bare(scope), receive, send)

    def _foreign(self, headers: dict[str, str]) -> str | None:
        """Why a request comes from a page that is not ours, or for a name that is not; None if it does not."""
        if headers.get("host", "").lower() not in self.hosts:
            return "this server is not asked for by that name: see `fromzero status`"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() not in self.hosts:
            return "a page of another site asks"
        if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
            return "a page of another site asks"
        return None

    def _who(self, headers: dict[str, str]) -> Person | None:
        if header := headers.get("authorization"):
            return access.of_authorization(self.home, header)
        return self._of_cookie(headers)

    def _of_cookie(self, headers: dict[str, str]) -> Person | None:
        name = access.cookie_name(self.home)
        for part in headers.get("cookie", "").split(";"):
            key, _, value = part.strip().partition("=")
            if key == name:
                return access.of_cookie(self.home, value)
        return None

    async def _login(self, query: dict[str, list[str]], headers: dict[str, str], send: Send) -> None:
        """A link that lets in: a cookie, and on to a page of ours."""
        person = access.redeem(self.home, query["once"][0])
        if person is None and self._of_cookie(headers) is None:
            return await self._stranger(headers, send, "This link was used before, or is too old. ")
        to = query.get("to", ["/"])[0]
        to = to if re.match(r"/(?![/\\])", to) else "/"
        # Not a redirect: a browser that came by a link of another site would leave the new cookie out.
        page = f'<!doctype html><meta http-equiv="refresh" content="0;url={escape(to)}"><a href="{escape(to)}">on</a>'
        extra = []
        if person is not None:
            value = f"{access.cookie_name(self.home)}={access.cookie(self.home, person)}"
            age = int(access.COOKIE_DAYS * 86_400)
            extra = [("set-cookie", f"{value}; HttpOnly; SameSite=Strict; Path=/; Max-Age={age}")]
        await _say(
            send, 200, page, "text/html", *extra, ("cache-control", "no-store"), ("referrer-policy", "no-referrer")
        )

    async def _stranger(self, headers: dict[str, str], send: Send, why: str = "") -> None:
        if "text/html" in headers.get("accept", ""):
            page = (
                f"<!doctype html><title>fromzero</title><h1>Who are you?</h1><p>{why}<code>fromzero status</code> "
                "prints a link that lets you in; for others <code>fromzero login NAME</code> does.</p>"
            )
            return await _say(send, 401, page, "text/html")
        how = "name and password are asked for (Basic): `fromzero login --env` prints them"
        await _say(send, 401, how, "text/plain", ("www-authenticate", 'Basic realm="fromzero"'))

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = _headers(scope)
        person = self._who(headers)
        # Who shows nothing with the handshake may do so in the first message, which is how Prefect's clients do it.
        later = person is None and "prefect" in scope.get("subprotocols", ()) and "authorization" not in headers
        fits = person is None or allowed(person.role, "WEBSOCKET", scope["path"])
        if self._foreign(headers) or not (later or (person is not None and fits)):
            await receive()
            await send({"type": "websocket.close", "code": 1008})
            return
        if later:
            receive, send = self._until_known(scope["path"], receive, send)
        await self.inner(_bare(scope), receive, send)

    def _until_known(self, path: str, receive: Receive, send: Send) -> tuple[Receive, Send]:
        """Both ways of a WebSocket of which nothing but a login gets through until one has come."""
        known = refused = False

        async def inwards() -> MutableMapping[str, Any]:
            nonlocal known, refused
            message = await receive()
            if known or message["type"] != "websocket.receive":
                return message
            person = _of_message(self.home, message)
            if person is None or not allowed(person.role, "WEBSOCKET", path):
                refused = True
                await send({"type": "websocket.close", "code": AUTH_FAILED, "reason": "not let in"})
                return {"type": "websocket.disconnect", "code": AUTH_FAILED}
            known = True
            return message

        async def outwards(message: MutableMapping[str, Any]) -> None:
            if known or (message["type"] != "websocket.send" and not refused):
                await send(message)

        return inwards, outwards


def _of_message(home: Path, message: MutableMapping[str, Any]) -> Person | None:
    """Who says {"type": "auth", "token": "NAME:PASSWORD"}."""
    try:
        said = json.loads(message.get("text") or message.get("bytes") or "")
        name, _, given = str(said["token"]).partition(":")
        return access.of_password(home, name, given) if said["type"] == "auth" else None
    except (ValueError, TypeError, KeyError):
        return None


def allowed(role: str, method: str, path: str) -> bool:
    """Whether a role may do this to a path of Prefect's or MLflow's server."""
    if role == "owner":
        return True
    if method == "WEBSOCKET":
        return path in STREAMS
    if SECRETS.match(path):
        return method in SAFE and path == "/api/admin/version"
    if method in SAFE or (method == "POST" and LOOKS.fullmatch(path)):
        return True
    return role == "promoter" and bool(PROMOTES.fullmatch(path))


def _headers(scope: Scope) -> dict[str, str]:
    """By name in lower case; of several with one name none counts, as it would depend on who reads them."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1").lower()
        found[key] = value.decode("latin-1") if key not in found or key == "cookie" else "\n"
    return found


def _bare(scope: Scope) -> Scope:
    """Without what the guard was shown: the application has no use for it."""
    kept = [(name, value) for name, value in scope["headers"] if name.lower() != b"authorization"]
    return {**scope, "headers": kept}


async def _signed(receive: Receive, person: Person) -> Receive:
    """The answer in a form, with the name of who was let in."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if message["type"] != "http.request" or not message.get("more_body") or len(body) > LARGEST_ANSWER:
            break
    try:
        said = json.loads(body)
        if isinstance(said, dict) and isinstance(said.get("run_input"), dict):
            said["run_input"][LOGGED_IN] = f"{person.name} ({person.role})"
            body = json.dumps(said).encode()
    except ValueError:
        body = b"{"  # the application says what is wrong with it
    given = False

    async def signed() -> MutableMapping[str, Any]:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return signed


async def _say(send: Send, status: int, text: str, kind: str = "text/plain", *headers: tuple[str, str]) -> None:
    body = text.encode()
    own = [("content-type", f"{kind}; charset=utf-8"), ("content-length", str(len(body))), *headers]
    start = {"type": "http.response.start", "status": status}
    await send(start | {"headers": [(name.encode(), value.encode()) for name, value in own]})
    await send({"type": "http.response.body", "body": body})
