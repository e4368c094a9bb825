"""Cancelling a process that has announced itself, through an API that answers as Prefect's does."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from flows.runs import cancel
from flows.runs.history import Run
from tasks.core import liveness
from tasks.core.errors import ConfigError, HostError, Transient
from tests.toy_process import ROOT, eventually

RUN = Run("0123456789", "demo-1", "demo", "running", 0.0, 9.0, None, None, None, 77)
ANNOUNCE = "import sys, time; from pathlib import Path; from tasks.core.liveness import Announced\n\
kept = Announced(Path(sys.argv[1]), '0123456789', name='demo-1'); time.sleep(600)"


class Prefect:
    """An API that notes what it is asked and answers with `status`; `then` is done at each request."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.status, self.code = "ACCEPT", 201
        self.then: Any = lambda: None
        prefect = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                prefect.asked.append((self.path, body))
                prefect.then()
                self.send_response(prefect.code)
                self.end_headers()
                self.wfile.write(json.dumps({"status": prefect.status, "details": {"reason": "because"}}).encode())

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/api"


@pytest.fixture
def prefect(monkeypatch: pytest.MonkeyPatch) -> Iterator[Prefect]:
    made = Prefect()
    monkeypatch.setenv("PREFECT_API_URL", made.url)
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def announced(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", ANNOUNCE, str(tmp_path)], cwd=ROOT)
    assert eventually(lambda: liveness.living(tmp_path))
    yield process
    process.kill()
    process.wait()


def test_a_run_is_told_through_prefect_and_its_end_is_waited_for(
    tmp_path: Path, prefect: Prefect, announced: subprocess.Popen[bytes]
) -> None:
    prefect.then = announced.terminate
    said: list[str] = []
    cancel.cancel(tmp_path, RUN, 600, said.append)
    ((path, body),) = prefect.asked
    assert path == "/api/flow_runs/0123456789/set_state"
    assert (body["state"]["type"], body["state"]["name"]) == ("CANCELLING", "Cancelling")
    assert not liveness.living(tmp_path)
    assert "process is gone" in said[-1]


def test_a_run_that_does_not_leave_in_time_is_named_with_its_process(
    tmp_path: Path, prefect: Prefect, announced: subprocess.Popen[bytes]
) -> None:
    with pytest.raises(HostError, match="has not stopped after 0 s: `kill 77`"):
        cancel.cancel(tmp_path, RUN, 0, lambda line: None)


def test_a_run_that_has_ended_is_not_asked(tmp_path: Path, prefect: Prefect) -> None:
    with pytest.raises(ConfigError, match=r"is not under way: completed after 9.0 s"):
        cancel.cancel(tmp_path, replace(RUN, state="completed"), 1, lambda line: None)
    assert prefect.asked == []


def test_a_server_that_refuses_does_not_know_the_run_or_is_not_there_is_said(
    tmp_path: Path, prefect: Prefect, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefect.status = "ABORT"
    with pytest.raises(HostError, match="because"):
        cancel.cancel(tmp_path, RUN, 1, lambda line: None)
    prefect.code = 404
    with pytest.raises(HostError, match="does not know this run"):
        cancel.cancel(tmp_path, RUN, 1, lambda line: None)
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    with pytest.raises(Transient, match=r"no Prefect server answers at http://127\.0\.0\.1:9/api"):
        cancel.cancel(tmp_path, RUN, 1, lambda line: None)
    monkeypatch.delenv("PREFECT_API_URL")
    with pytest.raises(HostError, match="no Prefect server runs for"):
        cancel.cancel(tmp_path, RUN, 1, lambda line: None)
