"""The pages of others in the browser of somebody whose servers run; real servers of Prefect and MLflow."""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest

from conf.schema.services import ServicesConf
from tasks.core import rest, server
from tasks.core.keeper import Keeper
from tests.browser import opened
from tests.ports import free_ports
from tests.toy_process import eventually

EVIL = "evil.example"
REBOUND = f"MAP {EVIL} 127.0.0.1"
"""What a name server of the attacker's says, once its page is loaded."""
ASK = """async ([url, mode, kind]) => {
  try {
    const made = await fetch(url, {method: "POST", mode, credentials: "include", headers: {"content-type": kind},
                                   body: JSON.stringify({name: "of-the-attacker"})});
    return made.status;
  } catch (error) { return "failed"; }
}"""
"""Make a flow."""
LISTEN = """url => new Promise(done => {
  const socket = new WebSocket(url, "prefect");
  socket.onopen = () => socket.send(JSON.stringify({type: "auth", token: null}));
  socket.onmessage = event => done(event.data);
  socket.onclose = socket.onerror = () => done("closed");
})"""


@pytest.fixture(scope="module")
def site() -> Iterator[int]:
    """The port of a site of somebody else's, an empty page."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>cats</title>")

        def log_message(self, *args: Any) -> None:
            """Nothing."""

    other = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=other.serve_forever, daemon=True).start()
    yield other.server_port
    other.shutdown()


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """MLflow's pages, as the keeper starts them."""
    (port,) = free_ports(1)
    conf = ServicesConf(mlflow_port=port)
    service = Keeper(tmp_path_factory.mktemp("mlflow-home"))._mlflow(conf)
    service.look()
    pages = f"http://127.0.0.1:{port}"
    assert eventually(lambda: server.healthy(f"{pages}/health"), 180), service.log.read_text()[-2000:]
    yield pages
    service.stop()


def test_a_page_of_another_origin_starts_nothing_in_the_browser_of_somebody_whose_server_runs(
    prefect_url: str, site: int
) -> None:
    pages = prefect_url.removesuffix("/api")
    port = urlsplit(pages).port
    stream = f"ws://127.0.0.1:{port}/api/events/out"
    with opened(names=REBOUND) as page:
        for origin in (f"http://127.0.0.1:{site}", f"http://localhost:{site}"):
            page.goto(origin)
            for mode, kind in (("cors", "application/json"), ("no-cors", "text/plain"), ("no-cors", "")):
                page.evaluate(ASK, [f"{pages}/api/flows/", mode, kind])
            assert page.evaluate(LISTEN, stream) == "closed"
            assert page.evaluate(LISTEN, stream.replace("/out", "/in")) == "closed"
        page.goto(f"http://{EVIL}:{site}")
        page.goto(f"http://{EVIL}:{port}/")  # rebound: for the browser this is still the attacker's own site
        assert page.evaluate(ASK, ["/api/flows/", "cors", "application/json"]) == 403
        assert page.evaluate(LISTEN, stream.replace("127.0.0.1", EVIL)) == "closed"
        assert "of-the-attacker" not in {flow["name"] for flow in rest.ask(prefect_url, "flows/filter", {})}
        page.goto(f"{pages}/api/health")
        assert page.evaluate(ASK, ["/api/flows/", "cors", "application/json"]) == 201, "the same from our own page"
        assert page.evaluate(LISTEN, stream) == '{"type":"auth_success"}'


@pytest.mark.parametrize("origin", ["http://evil.example", "http://localhost:3000", "null"])
def test_mlflow_answers_its_own_names_and_pages_only(mlflow: str, origin: str) -> None:
    url = f"{mlflow}/api/2.0/mlflow/experiments/search"
    for extra in ({"origin": origin}, {"host": "192.168.1.7:5000"}, {"host": "evil.example"}):
        headers = {"content-type": "application/json", **extra}
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(url, b'{"max_results": 1}', headers), timeout=60)
        assert refused.value.code == 403
    ours = {"content-type": "application/json", "origin": mlflow}
    with urllib.request.urlopen(urllib.request.Request(url, b'{"max_results": 1}', ours), timeout=60) as reply:
        assert reply.status == 200 and "experiments" in json.load(reply)
