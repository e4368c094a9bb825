"""What a guard lets through: what its own pages and programs ask, of whom was let in, as far as a role goes."""

from __future__ import annotations

import asyncio
import base64
import json
import stat
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from conf.schema.services import ServicesConf
from flows.deploy import up_down
from tasks.core.errors import ConfigError, HostError, Transient
from tasks.core.services import access, guard, prefect_api, servers
from tasks.core.services.access import Person
from tasks.core.services.guard import Guard
from tasks.core.services.supervisor import Keeper, asked_for

HOST = "127.0.0.1:4200"
ADA, GRACE = Person("Ada", "reader"), Person("Grace", "promoter")


class Inner:
    """An application that says yes to everything, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer 200; accept a WebSocket, and echo its second message."""
        self.asked.append(scope)
        if scope["type"] == "http":
            self.bodies.append((await receive())["body"])
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"yes"})
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "text": "secret news"})
            await receive()
            await send({"type": "websocket.send", "text": "more"})
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


def http(guarded: Guard, path: str = "/api/flows/", method: str = "GET", body: bytes = b"", **headers: str) -> Asked:
    """A request; `host` is ours unless it is given."""
    path, _, query = path.partition("?")
    found = {"host": HOST, **{name.replace("_", "-"): value for name, value in headers.items()}}
    named = [(name.encode(), value.encode("latin-1")) for name, value in found.items()]
    scope = {"type": "http", "method": method, "path": path, "query_string": query.encode(), "headers": named}
    return ask(guarded, scope, {"type": "http.request", "body": body, "more_body": False})


def socket(guarded: Guard, path: str, *texts: str, protocols: tuple[str, ...] = (), **headers: str) -> list[str]:
    """A WebSocket; what it was told, by the types of the messages."""
    named = [(name.encode(), value.encode()) for name, value in {"host": HOST, **headers}.items()]
    scope = {"type": "websocket", "path": path, "query_string": b"", "headers": named, "subprotocols": list(protocols)}
    first = {"type": "websocket.connect"}
    told = ask(guarded, scope, first, *({"type": "websocket.receive", "text": text} for text in texts))
    return [message["type"].removeprefix("websocket.") for message in told.messages]


@pytest.fixture
def inner() -> Inner:
    """What is guarded."""
    return Inner()


@pytest.fixture
def guarded(inner: Inner, home: Path) -> Guard:
    """The guard of a server of `home` at `HOST`."""
    return Guard(inner, asked_for("127.0.0.1", 4200, ()), home)


def shown(home: Path, person: Person) -> str:
    """A person's name and password as a header."""
    pair = f"{person.name}:{access.password(home, person)}"
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


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
@pytest.mark.parametrize("path", ["/api/flows/", "/api/health", "/", "/login?once=x"])
def test_what_another_site_asks_is_refused_whoever_is_logged_in(
    guarded: Guard, inner: Inner, home: Path, headers: dict[str, str], path: str
) -> None:
    cookie = f"{access.cookie_name(home)}={access.cookie(home, access.owner())}"
    for method in ("GET", "POST", "DELETE", "OPTIONS"):
        answer = http(guarded, path, method, cookie=cookie, authorization=access.authorization(home), **headers)
        assert answer.status == 403
    plain = {name.replace("_", "-"): value for name, value in headers.items()}
    assert socket(guarded, "/api/events/in", cookie=cookie, **plain) == ["close"]
    assert inner.asked == []


def test_our_own_page_and_programs_are_let_through(guarded: Guard, inner: Inner, home: Path) -> None:
    cookie = f"other=1; {access.cookie_name(home)}={access.cookie(home, access.owner())}; broken"
    for host in (HOST, "localhost:4200", "[::1]:4200"):
        assert http(guarded, method="POST", host=host, cookie=cookie, origin=f"http://{host}").status == 200
    assert http(guarded, method="POST", authorization=access.authorization(home)).status == 200
    assert all(b"authorization" not in dict(scope["headers"]) for scope in inner.asked)
    assert http(guarded, "/api/health").status == 200, "that it lives is no secret"
    assert ask(guarded, {"type": "lifespan"}).messages == [{"type": "lifespan.startup.complete"}]


def test_who_shows_nothing_or_something_wrong_is_a_stranger(guarded: Guard, inner: Inner, home: Path) -> None:
    name, cookie = access.cookie_name(home), access.cookie(home, ADA)
    forged = base64.urlsafe_b64encode(json.dumps(["Ada", "owner", 9e9]).encode()).decode()
    said, _, seal = cookie.partition(".")
    for headers in (
        {},
        {"authorization": "Basic b3duZXI6b3duZXI="},
        {"authorization": "Basic ÿ"},
        {"authorization": "Bearer x"},
        {"authorization": shown(home, ADA).replace("Basic", "Digest")},
        {"cookie": f"{name}={forged}.{seal}"},
        {"cookie": f"{name}={said}"},
        {"cookie": f"{name}=ÿ.ÿ"},
        {"cookie": f"{name[:-1]}x={cookie}"},
    ):
        assert http(guarded, **headers).status == 401, headers
        assert http(guarded, method="POST", **headers).status == 401, headers
    page = http(guarded, "/", accept="text/html")
    assert page.status == 401 and "fromzero status" in page.text and "www-authenticate" not in page.headers
    assert inner.asked == []


def test_a_cookie_ends_with_its_time_and_with_the_secret(
    guarded: Guard, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cookie = f"{access.cookie_name(home)}={access.cookie(home, ADA)}"
    assert http(guarded, cookie=cookie).status == 200
    with monkeypatch.context() as later:
        later.setattr(access.time, "time", lambda: 9e9)
        assert http(guarded, cookie=cookie).status == 401
    (home / "secret").unlink()
    assert http(guarded, cookie=cookie).status == 401


def test_a_link_lets_in_once_and_leads_to_a_page_of_ours_only(guarded: Guard, home: Path) -> None:
    url = access.link(home, f"http://{HOST}", GRACE, "/runs?x=1&y=#top")
    path = url.removeprefix(f"http://{HOST}")
    answer = http(guarded, path, accept="text/html", sec_fetch_site="cross-site", sec_fetch_mode="navigate")
    assert answer.status == 200 and "url=/runs?x=1&amp;y=#top" in answer.text
    kept = answer.headers["set-cookie"]
    assert "HttpOnly" in kept and "SameSite=Strict" in kept
    pair = kept.partition(";")[0]
    assert access.of_cookie(home, pair.partition("=")[2]) == GRACE
    again = http(guarded, path, accept="text/html")
    assert again.status == 401 and "set-cookie" not in again.headers
    assert http(guarded, path, cookie=pair).status == 200, "who is in already is led on"
    for to in ("//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", '"><script>'):
        url = access.link(home, f"http://{HOST}", to=to)
        text = http(guarded, url.removeprefix(f"http://{HOST}")).text
        assert 'content="0;url=/"' in text, to
    assert list((home / access.LOGINS).iterdir()) == []


def test_a_link_that_nobody_used_ends_with_its_time(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = access.link(home, "").partition("once=")[2]
    (file,) = (home / access.LOGINS).iterdir()
    assert token not in file.read_text() + file.name and stat.S_IMODE(file.stat().st_mode) == 0o600
    monkeypatch.setattr(access.time, "time", lambda: 9e9)
    assert access.redeem(home, token) is None
    assert access.redeem(home, "../secret") is None and (home / "secret").exists() is False


ROLES = [
    ("GET", "/api/flow_runs/1", "reader"),
    ("POST", "/api/flow_runs/filter", "reader"),
    ("POST", "/api/ui/flow_runs/history", "reader"),
    ("POST", "/api/events/filter", "reader"),
    ("POST", "/ajax-api/2.0/mlflow/runs/search", "reader"),
    ("POST", "/api/2.0/mlflow/logged-models/search", "reader"),
    ("GET", "/api/2.0/mlflow/model-versions/search", "reader"),
    ("GET", "/get-artifact", "reader"),
    ("GET", "/api/admin/version", "reader"),
    ("WEBSOCKET", "/api/events/out", "reader"),
    ("POST", "/api/flow_runs/0-1/resume", "promoter"),
    ("POST", "/api/2.0/mlflow/registered-models/alias", "promoter"),
    ("DELETE", "/ajax-api/2.0/mlflow/registered-models/alias", "promoter"),
    ("POST", "/api/flow_runs/", "owner"),
    ("POST", "/api/flow_runs/1/set_state", "owner"),
    ("POST", "/api/flow_runs/1/input", "owner"),
    ("POST", "/api/deployments/1/create_flow_run", "owner"),
    ("PATCH", "/api/work_pools/fromzero", "owner"),
    ("DELETE", "/api/flow_runs/1", "owner"),
    ("POST", "/api/admin/database/clear", "owner"),
    ("GET", "/api/admin/settings", "owner"),
    ("GET", "/api/block_documents/1", "owner"),
    ("POST", "/api/block_documents/filter", "owner"),
    ("GET", "/api/block_types/slug/secret/block_documents/name/key", "owner"),
    ("POST", "/api/2.0/mlflow/model-versions/create", "owner"),
    ("POST", "/api/2.0/mlflow/runs/delete", "owner"),
    ("PUT", "/api/2.0/mlflow-artifacts/artifacts/1/model/MLmodel", "owner"),
    ("WEBSOCKET", "/api/events/in", "owner"),
    ("WEBSOCKET", "/api/work_pools/fromzero/workers/connect", "owner"),
]


@pytest.mark.parametrize(("method", "path", "least"), ROLES, ids=str)
def test_a_role_may_do_what_it_is_for_and_no_more(
    guarded: Guard, home: Path, method: str, path: str, least: str
) -> None:
    may = access.ROLES[access.ROLES.index(least) :]
    for role in access.ROLES:
        header = shown(home, Person("Ada", role))
        if method == "WEBSOCKET":
            let = "accept" in socket(guarded, path, authorization=header)
        else:
            let = http(guarded, path, method, authorization=header).status == 200
        assert let == (role in may), role


def test_an_answer_in_a_form_says_who_was_logged_in_whatever_the_browser_sends(
    guarded: Guard, inner: Inner, home: Path
) -> None:
    body = json.dumps({"run_input": {"approve": True, "by": "the boss", "logged_in": "the boss"}}).encode()
    header = shown(home, GRACE)
    assert http(guarded, "/api/flow_runs/0-1/resume", "POST", body, authorization=header).status == 200
    (got,) = inner.bodies
    assert json.loads(got)["run_input"] == {"approve": True, "by": "the boss", "logged_in": "Grace (promoter)"}


def test_a_websocket_says_nothing_until_somebody_has_said_who_they_are(guarded: Guard, home: Path) -> None:
    path = "/api/events/out"
    token = f"Ada:{access.password(home, ADA)}"
    hello, wrong = (json.dumps({"type": "auth", "token": word}) for word in (token, "Ada:x"))
    prefect = ("prefect",)
    assert socket(guarded, path) == ["close"], "without a login in sight"
    assert socket(guarded, path, wrong, protocols=prefect) == ["accept", "close"]
    for nonsense in ("", "[]", "null", '{"type": "auth"}', '{"type": "other", "token": 1}'):
        assert socket(guarded, path, nonsense, protocols=prefect) == ["accept", "close"]
    assert socket(guarded, path, hello, protocols=prefect) == ["accept", "send"]
    assert socket(guarded, "/api/events/in", hello, protocols=prefect) == ["accept", "close"], "a reader tells nothing"


def test_login_prints_links_for_a_person_and_variables_for_a_program_and_nothing_where_nothing_is_up(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(HostError, match="`fromzero up` first"):
        up_down.login(home, None, None, env=False)
    monkeypatch.setattr(servers, "wanted", lambda home: ServicesConf())
    monkeypatch.setattr(servers, "pages", lambda home: {"prefect": "http://p", "mlflow": "http://m"})
    links = up_down.login(home, "Ada", None, env=False)
    tokens = [line.partition("once=")[2] for line in links]
    assert [line.split("/login")[0].split() for line in links] == [["prefect", "http://p"], ["mlflow", "http://m"]]
    assert [access.redeem(home, token) for token in tokens] == [ADA, ADA]
    said = up_down.login(home, None, None, env=True)
    names = ["PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "MLFLOW_TRACKING_URI"]
    assert [line.split("=")[0] for line in said] == [
        f"export {name}" for name in [*names, "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"]
    ]
    name, _, word = said[1].partition("=")[2].strip("'").partition(":")
    assert access.of_password(home, name, word) == access.owner()


def test_a_link_to_servers_of_an_earlier_version_is_the_plain_one(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for found, starts in (({"asks": True}, "http://p/login?once="), ({}, "http://p"), (None, "http://p")):
        monkeypatch.setattr(servers, "running", lambda home, found=found: found)
        link = up_down.link(home, "http://p")
        assert link.startswith(starts) and ("once=" in link) == bool(found)


def test_our_own_server_is_asked_with_our_password_and_another_with_the_users(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "prefect").mkdir()
    (home / "prefect" / "server.json").write_text('{"url": "http://127.0.0.1:4200/api"}')
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "me:mine")
    asked: list[dict[str, str]] = []

    def opened(request: urllib.request.Request, timeout: float) -> None:
        asked.append(dict(request.header_items()))
        raise OSError("nobody")

    monkeypatch.setattr(urllib.request, "urlopen", opened)
    for url in ("http://127.0.0.1:4200/api", "http://127.0.0.1:4201/api", "http://127.0.0.1:4200.evil.example/api"):
        with pytest.raises(Transient):
            prefect_api.ask(url, "flows/filter", {})
    mine = f"Basic {base64.b64encode(b'me:mine').decode()}"
    assert [headers["Authorization"] for headers in asked] == [access.authorization(home), mine, mine]


def test_a_name_that_is_none_is_refused() -> None:
    for name in ("", "a:b", "x" * 61, "a\nb"):
        with pytest.raises(ConfigError, match="is no name"):
            Person(name, "reader")
    with pytest.raises(ConfigError, match="no role"):
        Person("Ada", "boss")


def test_a_server_for_all_addresses_is_asked_for_by_the_names_of_its_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "Box")
    monkeypatch.setattr("socket.getfqdn", lambda: "box.lan")
    found = asked_for("0.0.0.0", 4200, ("pages.example", "proxy.example:443"))
    expected = ["127.0.0.1", "[::1]", "box", "box.lan", "localhost", "pages.example"]
    assert found == sorted([*(f"{name}:4200" for name in expected), "pages.example", "proxy.example:443"])
    assert guard.told("a:b", True, found, Path("/h"))[guard.GUARD]


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "10.1.2.3"])
def test_no_server_of_up_is_started_without_the_guard_on_whatever_address(
    home: Path, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tasks.core.tracking.mlflow_db.prepare", lambda _: "sqlite:////nowhere/mlflow.db")
    conf = ServicesConf(host=host)
    servers.folder(home).mkdir()
    servers.want(home, conf)
    keeper = Keeper(home)
    for service in (keeper.services["prefect"], keeper._mlflow(conf)):
        assert "tasks.core.services.guard:app" in service.command and service.command.count("--host") == 1
        assert service.command[service.command.index("--host") + 1] == host
        assert json.loads(service.environ[guard.GUARD])["home"] == str(home)
