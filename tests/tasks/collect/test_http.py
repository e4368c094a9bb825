"""Files on a real web server: uvicorn, which serves a folder with ETags and ranges."""

from __future__ import annotations

import gzip
import hashlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from conf.schema.data import CollectConf
from tasks.collect import downloads as http
from tasks.collect.steps import fetch_shard, observe_sources
from tasks.core.errors import ConfigError, DataError, Transient
from tasks.core.workdir import Workdir
from tests.tasks.collect.conftest import Fetched
from tests.tasks.collect.test_files import PAGE
from tests.tasks.core.cutting_proxy import CuttingProxy


class Site:
    """A folder on the web; `asked` holds (method, path, Range) of each request."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.busy = folder, 0
        self.asked: list[tuple[str, str, str | None]] = []
        routes = [
            Route("/private.txt", lambda _: Response(status_code=403)),
            Route("/post", lambda _: PlainTextResponse(PAGE, media_type="text/html")),
            Mount("/", StaticFiles(directory=folder)),
        ]
        app = Starlette(routes=routes)

        async def counted(scope: dict[str, Any], receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                request = Request(scope)
                self.asked.append((request.method, request.url.path, request.headers.get("range")))
                if self.busy:
                    self.busy -= 1
                    await PlainTextResponse("later", 429, {"Retry-After": "0"})(scope, receive, send)
                    return
            await app(scope, receive, send)

        self.server = uvicorn.Server(uvicorn.Config(counted, port=0, log_level="critical", lifespan="off"))
        threading.Thread(target=self.server.run, daemon=True).start()
        while not self.server.started:
            time.sleep(0.01)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def put(self, name: str, content: bytes) -> str:
        """Publish a file; its URL."""
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_bytes(content)
        return f"{self.url}/{name}"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    (tmp_path / "site").mkdir()
    found = Site(tmp_path / "site")
    yield found
    found.server.should_exit = True


def test_files_and_pages_are_read_by_their_endings_and_named_by_their_place(site: Site, tmp_path: Path) -> None:
    urls = [site.put("deep/a.jsonl.gz", gzip.compress(b'{"text": "one"}\n{"text": "two"}')), f"{site.url}/post"]
    rows = Fetched(tmp_path, kind="http", urls=urls, licence="CC0-1.0").rows
    host = f"127.0.0.1:{site.port}"
    assert [row["uri"] for row in rows] == [f"{host}/deep/a.jsonl.gz#1", f"{host}/deep/a.jsonl.gz#2", f"{host}/post"]
    assert "kettle" in rows[2]["text"] and "Cart" not in rows[2]["text"] and rows[2]["licence"] == "CC0-1.0"


def test_a_file_of_urls_is_read_line_by_line_and_a_url_counts_once(site: Site, tmp_path: Path) -> None:
    a, b = site.put("a.txt", b"one"), site.put("b.txt", b"two")
    (tmp_path / "urls.txt").write_text(f"# what we read\n{a}\n\n{b}#sha256={hashlib.sha256(b'two').hexdigest()}\n")
    assert Fetched(tmp_path, kind="http", urls=[a, str(tmp_path / "urls.txt")]).texts == ["one", "two"]


def test_what_is_unchanged_has_the_same_stamp_and_what_changed_another(site: Site) -> None:
    url = site.put("a.txt", b"one")
    (before,) = http.entries("web", [url])
    assert http.entries("web", [url]) == [before] and before["size"] == 3
    site.put("a.txt", b"other")
    os.utime(site.folder / "a.txt", (1, 1))
    assert http.entries("web", [url])[0]["stamp"] != before["stamp"]


def test_a_download_that_breaks_off_goes_on_where_it_was(site: Site, tmp_path: Path) -> None:
    text = "".join(f"line {n}\n" for n in range(600_000)).encode()
    site.put("large.txt", text)
    with CuttingProxy(site.port) as proxy:
        source = {"kind": "http", "urls": [f"{proxy.endpoint}/large.txt"]}
        conf = CollectConf.model_validate({"sources": {"own": source}})
        (shard,) = observe_sources(conf)
        work = Workdir(tmp_path / "work")
        work.make()
        proxy.cut_answers(1, after=3_000_000)
        with pytest.raises(Transient):
            fetch_shard.function(shard, conf.sources["own"], work)
        stats = fetch_shard.function(shard, conf.sources["own"], work)
    assert stats["bytes"] == len(text)
    ranges = [asked for method, path, asked in site.asked if method == "GET" and path == "/large.txt"]
    assert ranges[0] is None and ranges[-1] is not None and int(ranges[-1][6:-1]) > 1_000_000


def test_a_file_changed_since_the_listing_is_refused(site: Site, tmp_path: Path) -> None:
    url = site.put("a.txt", b"one" * 10)
    (entry,) = http.entries("web", [url])
    site.put("a.txt", b"two" * 9)
    os.utime(site.folder / "a.txt", (1, 1))
    with pytest.raises(DataError, match=r"a\.txt has changed since it was listed: run again"):
        http.download(entry, tmp_path, 10**9)


def test_a_wrong_checksum_is_refused_by_name(site: Site, tmp_path: Path) -> None:
    url = site.put("a.txt", b"one")
    with pytest.raises(DataError, match=r"a\.txt has the checksum sha256="):
        Fetched(tmp_path, kind="http", urls=[f"{url}#sha256={'0' * 64}"])


def test_a_busy_server_is_asked_again(site: Site) -> None:
    url = site.put("a.txt", b"one")
    site.busy = 3
    assert http.entries("web", [url])[0]["size"] == 3 and len(site.asked) == 4


def test_what_cannot_be_had_is_named_with_the_fix(site: Site, tmp_path: Path) -> None:
    (tmp_path / "urls.txt").write_text("notes.txt\n")
    cases: dict[str, tuple[type[Exception], str]] = {
        f"{site.url}/none.txt": (DataError, r"none\.txt is not there \(404\)"),
        f"{site.url}/private.txt": (ConfigError, r"refuses access \(403\)"),
        f"{site.url}/a.pdf": (ConfigError, "unknown file ending"),
        f"{site.url}/a.txt#sha256=12": (ConfigError, "64 hex digits"),
        str(tmp_path / "urls.txt"): (ConfigError, r"urls\.txt, line 1: 'notes\.txt' is no URL"),
        str(tmp_path / "none.txt"): (ConfigError, "neither a URL nor a file of URLs"),
    }
    for url, (kind, message) in cases.items():
        with pytest.raises(kind, match=f"{message}.*data.sources.web.urls"):
            http.entries("web", [url])


def test_a_server_that_is_gone_is_an_error_that_a_retry_may_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "ATTEMPTS", 0)
    http._pool.cache_clear()
    entry = {"uri": "http://127.0.0.1:9/a.txt", "stamp": "x", "etag": "", "sha256": None, "size": 1}
    with pytest.raises(Transient, match=r"127\.0\.0\.1:9/a\.txt"):
        http.download(entry, tmp_path, 10**9)
    http._pool.cache_clear()
