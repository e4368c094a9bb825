"""A web server that lies, redirects elsewhere or never ends does no harm: real servers on this machine."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tasks.collect import addresses
from tasks.collect import downloads as http
from tasks.core.errors import ConfigError, DataError

Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def serving(answer: Answer) -> Iterator[str]:
    """The URL of a server that answers every request so."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def answering(status: int, headers: dict[str, str], body: bytes = b"") -> Answer:
    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        for name, value in headers.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(body)

    return answer


def secret(request: BaseHTTPRequestHandler) -> None:
    answering(200, {"Content-Length": "6", "ETag": '"1"'}, b"secret")(request)


def test_a_redirect_to_another_private_address_is_refused_unless_allowed(tmp_path: Path) -> None:
    with serving(secret) as inside, serving(answering(302, {"Location": f"{inside}/a.txt"})) as outside:
        with pytest.raises(ConfigError, match=r"private address 127\.0\.0\.1.*private_redirects=true") as told:
            http.entries("own", [f"{outside}/a.txt"])
        assert "data.sources.own.urls" in str(told.value)
        (entry,) = http.entries("own", [f"{outside}/a.txt"], private=True)
        with pytest.raises(ConfigError, match="private address"):
            http.download(entry, tmp_path, 100)
        assert http.download(entry, tmp_path, 100, private=True).read_bytes() == b"secret"


def test_the_server_that_was_named_may_redirect_to_itself(tmp_path: Path) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        answering(301, {"Location": "/b.txt"})(request) if request.path == "/a.txt" else secret(request)

    with serving(answer) as url:
        (entry,) = http.entries("own", [f"{url}/a.txt"])
        assert http.download(entry, tmp_path, 100).read_bytes() == b"secret"


def test_redirects_in_a_circle_and_off_the_web_end(tmp_path: Path) -> None:
    with serving(answering(302, {"Location": "/again.txt"})) as url, pytest.raises(ConfigError, match="more than 10"):
        http.entries("own", [f"{url}/a.txt"])
    with serving(answering(302, {"Location": "file:///etc/passwd"})) as url, pytest.raises(ConfigError, match="web"):
        http.entries("own", [f"{url}/a.txt"])


def test_what_is_connected_to_is_the_address_that_was_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    answers, reached = iter(["93.184.216.34", "127.0.0.1"]), list[tuple[str, int]]()

    def looked_up(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), 80))]

    def connected(address: tuple[str, int], *_: object) -> socket.socket:
        reached.append(address)
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    monkeypatch.setattr(addresses, "create_connection", connected)
    pools = addresses.PublicPools(retries=False)
    with pytest.raises(Exception, match="no network"):
        pools.request("GET", "http://rebound.example/")
    assert reached == [("93.184.216.34", 80)]
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1"):
        pools.request("GET", "http://rebound.example/")


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fe80::1%eth0", "::ffff:10.0.0.1", "2002:a00:1::"]
)
def test_private_addresses_are_known_in_every_form(address: str) -> None:
    assert not addresses.is_public(address)
    assert addresses.is_public("93.184.216.34") and addresses.is_public("2606:2800:220:1::1")


def test_more_than_was_said_or_than_may_be_ends_at_once(tmp_path: Path) -> None:
    sent = list[int]()

    def endless(request: BaseHTTPRequestHandler) -> None:
        said = {"Content-Length": "10"} if request.command == "HEAD" and "/said" in request.path else {}
        answering(200, {"ETag": '"1"', **said})(request)
        try:
            for _ in range(200 if request.command == "GET" else 0):
                sent.append(request.wfile.write(b"x" * 1_000_000))
        except OSError:
            pass

    with serving(endless) as url:
        for name, error in {"said.txt": "more than the 10 bytes", "unsaid.txt": "max_file_gb of the source"}.items():
            (entry,) = http.entries("own", [f"{url}/{name}"])
            with pytest.raises(DataError, match=error):
                http.download(entry, tmp_path, 3_000_000)
    assert sum(sent) < 100_000_000


@pytest.mark.parametrize("length", ["abc", "-5", "1" * 5_000, "²"])
def test_a_length_that_is_none_is_one_clear_error(length: str) -> None:
    with (
        serving(answering(200, {"Content-Length": length})) as url,
        pytest.raises(DataError, match="length that is none"),
    ):
        http.entries("own", [f"{url}/a.txt"])


def test_a_server_that_wants_to_be_waited_for_is_not_waited_for_in_silence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waited = list[float]()
    monkeypatch.setattr(addresses.time, "sleep", waited.append)
    times = iter(range(9))

    def answer(request: BaseHTTPRequestHandler) -> None:
        secret(request) if next(times) else answering(503, {"Retry-After": "3600", "Content-Length": "0"})(request)

    with serving(answer) as url:
        http.entries("own", [f"{url}/a.txt"])
    assert addresses.LONGEST_WAIT in waited and max(waited) == addresses.LONGEST_WAIT
    assert "asked again in 60 s, though it asks for 3,600 s" in capsys.readouterr().out
    assert addresses.time is time
