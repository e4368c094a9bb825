"""What a guard lets through: what its own pages and programs ask, and nothing from a page of another site."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tasks.core import guard
from tasks.core.guard import Guard
from tasks.core.keeper import asked_for

HOST = "127.0.0.1:4200"


class Inner:
    """An application that says yes to everything, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer 200; accept a WebSocket."""
        self.asked.append(scope)
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"yes"})
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
        else:
            await send({"type": "lifespan.startup.complete"})


class Asked:
    """What came back."""

    def __init__(self, messages: list[dict[str, Any]]) -> None:
        self.messages = messages
        self.status = messages[0].get("status")
        self.headers = {name.decode(): value.decode() for name, value in messages[0].get("headers", ())}
        self.text = b"".join(message.get("body", b"") for message in messages).decode()


def ask(app: Any, scope: dict[str, Any], *incoming: dict[str, Any]) -> Asked:
    """Hand one scope to an application."""
    said: list[dict[str, Any]] = []
    waiting = list(incoming)

    async def receive() -> dict[str, Any]:
        return waiting.pop(0) if waiting else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        said.append(dict(message))

    asyncio.run(app(scope, receive, send))
    return Asked(said)


def http(guarded: Guard, path: str = "/api/flows/", method: str = "GET", **headers: str) -> Asked:
    """A request; `host` is ours unless it is given."""
    path, _, query = path.partition("?")
    found = {"host": HOST, **{name.replace("_", "-"): value for name, value in headers.items()}}
    named = [(name.encode(), value.encode("latin-1")) for name, value in found.items()]
    scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": named}
    return ask(guarded, scope, {"type": "http.request", "body": b"", "more_body": False})


def socket(guarded: Guard, path: str, **headers: str) -> list[str]:
    """A WebSocket; what it was told, by the types of the messages."""
    named = [(name.encode(), value.encode()) for name, value in {"host": HOST, **headers}.items()]
    scope = {"type": "websocket", "path": path, "query_string": b"", "headers": named, "subprotocols": ["prefect"]}
    told = ask(guarded, scope, {"type": "websocket.connect"})
    return [message["type"].removeprefix("websocket.") for message in told.messages]


@pytest.fixture
def inner() -> Inner:
    """What is guarded."""
    return Inner()


@pytest.fixture
def guarded(inner: Inner) -> Guard:
    """The guard of a server at `HOST`."""
    return Guard(inner, asked_for("127.0.0.1", 4200, ()))


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example:4200"},
        {"host": "evil.example"},
        {"host": "127.0.0.1:4201"},
        {"host": "127.0.0.1"},
        {"host": "127.0.0.1:4200.evil.example"},
        {"host": ""},
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:8000"},
        {"origin": "http://localhost"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://127.0.0.1:4200@evil.example"},
        {"sec_fetch_site": "cross-site", "sec_fetch_mode": "no-cors"},
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/api/flows/", "/api/health", "/"])
def test_what_another_site_asks_is_refused(guarded: Guard, inner: Inner, headers: dict[str, str], path: str) -> None:
    for method in ("GET", "POST", "DELETE", "OPTIONS"):
        assert http(guarded, path, method, **headers).status == 403
    plain = {name.replace("_", "-"): value for name, value in headers.items()}
    assert socket(guarded, "/api/events/in", **plain) == ["close"]
    assert inner.asked == []


def test_two_hosts_or_origins_are_none_of_ours(guarded: Guard, inner: Inner) -> None:
    for name in (b"host", b"origin"):
        pair = [(name, HOST.encode()), (name, b"evil.example"), (b"host", HOST.encode())]
        scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": pair}
        assert ask(guarded, scope).status == 403
    assert inner.asked == []


def test_our_own_page_and_programs_are_let_through(guarded: Guard, inner: Inner) -> None:
    for host in (HOST, "localhost:4200", "[::1]:4200"):
        assert http(guarded, method="POST", host=host, origin=f"http://{host}").status == 200
        assert socket(guarded, "/api/events/in", host=host, origin=f"http://{host}") == ["accept"]
    assert http(guarded, method="POST").status == 200, "a program has no origin"
    assert http(guarded, sec_fetch_site="cross-site", sec_fetch_mode="navigate").status == 200, "a link was followed"
    assert ask(guarded, {"type": "lifespan"}).messages == [{"type": "lifespan.startup.complete"}]
    assert len(inner.asked) == 9


def test_a_server_for_all_addresses_is_asked_for_by_the_names_of_its_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "Box")
    monkeypatch.setattr("socket.getfqdn", lambda: "box.lan")
    found = asked_for("0.0.0.0", 4200, ("pages.example", "proxy.example:443"))
    expected = ["127.0.0.1", "[::1]", "box", "box.lan", "localhost", "pages.example"]
    assert found == sorted([*(f"{name}:4200" for name in expected), "pages.example", "proxy.example:443"])
    assert guard.told("a:b", True, found)[guard.GUARD]
