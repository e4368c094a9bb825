"""The pages in a browser, and the pages of others in the same browser; real servers of Prefect and MLflow."""

from __future__ import annotations

import json
import os
import stat
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner

from conf.schema.services import ServicesConf
from flows.cli import main
from flows.runs.running import make_home
from tasks.core.errors import HostError
from tasks.core.services import access, servers
from tasks.core.services.access import Person
from tasks.core.services.supervisor import Keeper
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
def mlflow(prefect_home: Path, prefect_url: str) -> Iterator[str]:
    """MLflow's pages in the home of the session's server, as the keeper starts them."""
    (port,) = free_ports(1)
    conf = ServicesConf(mlflow_port=port)
    service = Keeper(prefect_home, int(urlsplit(prefect_url).port or 0))._mlflow(conf)
    service.look()
    pages = f"http://127.0.0.1:{port}"
    assert eventually(lambda: servers.healthy(f"{pages}/health"), 180), service.log.read_text()[-2000:]
    yield pages
    service.stop()


def asked(url: str, header: str | None = None, body: dict[str, Any] | None = None) -> int:
    """The status of an answer to a program."""
    headers = {"content-type": "application/json"} | ({"authorization": header} if header else {})
    data = json.dumps(body).encode() if body is not None else None
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=60) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code


def flows(url: str, home: Path) -> set[str]:
    """The names of Prefect's flows."""
    request = urllib.request.Request(
        f"{url}/flows/filter", b"{}", {"content-type": "application/json", "authorization": access.authorization(home)}
    )
    with urllib.request.urlopen(request, timeout=60) as reply:
        return {flow["name"] for flow in json.load(reply)}


def test_a_page_of_another_origin_starts_nothing_in_the_browser_of_somebody_who_is_logged_in(
    prefect_home: Path, prefect_url: str, site: int
) -> None:
    pages = prefect_url.removesuffix("/api")
    port = urlsplit(pages).port
    stream = f"ws://127.0.0.1:{port}/api/events/out"
    with opened(names=REBOUND) as page:
        page.goto(access.link(prefect_home, pages, to="/api/health"))
        page.wait_for_url(f"{pages}/api/health")
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
        assert "of-the-attacker" not in flows(prefect_url, prefect_home)
        page.goto(f"{pages}/api/health")
        assert page.evaluate(ASK, ["/api/flows/", "cors", "application/json"]) == 201, "the same from our own page"
        assert page.evaluate(LISTEN, stream) == '{"type":"auth_success"}'


def test_a_link_opens_both_servers_pages_once_without_a_password(
    prefect_home: Path, prefect_url: str, mlflow: str
) -> None:
    pages = prefect_url.removesuffix("/api")
    link = access.link(prefect_home, pages)
    with opened() as page:
        page.set_default_timeout(180_000)  # Prefect's page is large, and machines are busy
        page.goto(pages)
        page.get_by_text("Who are you?").wait_for()
        page.goto(link)
        page.get_by_text("Dashboard").first.wait_for()
        assert "login" not in page.url
        page.goto(mlflow)
        page.get_by_text("Experiments").first.wait_for()
    with opened() as page:
        page.goto(link)
        page.get_by_text("used before").wait_for()


@pytest.mark.parametrize("origin", ["http://evil.example", "http://localhost:3000", "null"])
def test_mlflow_answers_its_own_names_and_pages_only(prefect_home: Path, mlflow: str, origin: str) -> None:
    url, header = f"{mlflow}/api/2.0/mlflow/experiments/search", access.authorization(prefect_home)
    for extra in ({"origin": origin}, {"host": "192.168.1.7:5000"}, {"host": "evil.example"}):
        headers = {"authorization": header, "content-type": "application/json", **extra}
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(url, b'{"max_results": 1}', headers), timeout=60)
        assert refused.value.code == 403
    assert asked(url, header, {"max_results": 1}) == 200


def test_strangers_of_the_same_machine_get_nothing_from_either_server(
    prefect_home: Path, prefect_url: str, mlflow: str
) -> None:
    for url in (f"{prefect_url}/flows/filter", f"{mlflow}/api/2.0/mlflow/registered-models/create"):
        assert asked(url, body={"name": "theirs"}) == 401
        assert asked(url, "Basic b3duZXI6", {"name": "theirs"}) == 401
    assert asked(f"{prefect_url}/flows/filter", access.authorization(prefect_home), {}) == 200


def test_a_given_server_that_does_not_let_a_run_in_is_named_before_anything_is_done(
    prefect_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    servers.check_given(prefect_url)
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "owner:guessed")
    with pytest.raises(HostError, match=r"answers 401 .*fromzero login --env"):
        servers.check_given(prefect_url)


def test_a_reader_reads_and_a_promoter_moves_an_alias(
    prefect_home: Path, mlflow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through MLflow's own client, as people would."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    def be(name: str, role: str) -> MlflowClient:
        monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", name)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", access.password(prefect_home, Person(name, role)))
        return MlflowClient(mlflow, mlflow)

    boss = be("boss", "owner")
    boss.create_registered_model("ours")
    run = boss.create_run("0").info
    boss.create_model_version("ours", f"{run.artifact_uri}/model", run.run_id)
    reader = be("Ada", "reader")
    assert [model.name for model in reader.search_registered_models()] == ["ours"]
    with pytest.raises(MlflowException, match="403"):
        reader.set_registered_model_alias("ours", "champion", "1")
    promoter = be("Grace", "promoter")
    with pytest.raises(MlflowException, match="403"):
        promoter.delete_registered_model("ours")
    promoter.set_registered_model_alias("ours", "champion", "1")
    assert be("Ada", "reader").get_model_version_by_alias("ours", "champion").version == "1"
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "Grace")
    with pytest.raises(MlflowException, match="401"):
        MlflowClient(mlflow, mlflow).search_registered_models()


def test_a_home_is_its_owners_alone_and_so_is_what_the_command_writes(tmp_path: Path) -> None:
    loose = tmp_path / "loose"
    loose.mkdir(mode=0o755)
    for home in (loose, tmp_path / "new" / "home"):
        make_home(home)
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
    before = os.umask(0o022)
    try:
        CliRunner().invoke(main.main, ["init", str(tmp_path / "nothing")])
        (tmp_path / "file").touch()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
