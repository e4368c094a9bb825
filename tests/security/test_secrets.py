"""A secret of each kind is planted, and searched for in all that is written and printed."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conf.compose import compose
from tasks.collect import downloads as http
from tasks.core.errors import ConfigError, FromzeroError, HostError, Transient, from_exception
from tasks.core.step import step
from tasks.core.urls import Url, bare, secrets_in
from tests.pipeline_process import write_texts

ROOT = Path(__file__).parents[2]
PASSWORD, SIGNATURE, TOKEN = "planted-password-1", "planted-signature-2", "planted-token-3"
PAIR = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
SECRETS = (PASSWORD, SIGNATURE, TOKEN, PAIR)
NAMES = (
    "X-Amz-Signature", "X-Amz-Credential", "X-Amz-Security-Token", "X-Goog-Signature", "x-ms-meta-x", "sig",
    "Signature", "token", "access_token", "key", "api_key", "apikey", "AWSAccessKeyId", "Key-Pair-Id", "Policy",
    "password", "pwd", "client_secret", "ssl_password", "auth", "sas",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_what_lets_its_holder_in_is_never_shown(name: str) -> None:
    url = f"https://me:{PASSWORD}@host.example/a/b.csv?size=3&{name}={SIGNATURE}&page=2#top"
    shown = str(Url(url))
    assert shown == f"https://host.example/a/b.csv?size=3&{name}=***&page=2#top"
    assert secrets_in(url) == ["password", name] and secrets_in(shown) == []
    assert SIGNATURE not in repr(Url(url)) and f"{Url(url)}" == shown
    assert bare(f"asked {url}, and again {url}: no") == f"asked {shown}, and again {shown}: no"


@pytest.mark.parametrize("url", [
    "https://host.example/a?size=3&monkey=1&author=x&tokenizer=gpt&sigma=2&keyboard=x", "s3://bucket/a?b",
    "sqlite:///a.db", "https://medium.example/@someone/a", "https://host.example:8080/", "data.sources.a.key=id",
])  # fmt: skip
def test_what_lets_nobody_in_stays(url: str) -> None:
    assert bare(url) == url and secrets_in(url) == []


@given(st.text(alphabet="abc:/?&=#@;%. \n'\"", max_size=40))
def test_a_text_that_is_shown_twice_is_the_same(text: str) -> None:
    assert bare(bare(text)) == bare(text)


def test_no_message_of_ours_holds_a_secret_however_it_is_shown() -> None:
    url = f"https://me:{PASSWORD}@host.example/a?X-Amz-Signature={SIGNATURE}"
    for error in (ConfigError(f"{url} is not there"), from_exception(OSError(5, f"cannot read {url}"))):
        shown = f"{error} {error!r} {error.args} {''.join(traceback.format_exception(error))}"
        assert not [secret for secret in SECRETS if secret in shown], shown


def source(*options: str) -> tuple[str, ...]:
    """A recipe's one source: its options as overrides."""
    return tuple(f"data.sources.mine.{option}" for option in options)


ODBC = quote(f"DRIVER={{ODBC Driver 18}};SERVER=db;UID=sa;PWD={PASSWORD}")
REFUSED = {
    "a user in a URL": source("kind=http", f"urls=['https://me:{PASSWORD}@host.example/a.csv']"),
    "a signed URL": source("kind=http", f"urls=['https://host.example/a.csv?X-Amz-Signature={SIGNATURE}']"),
    "a signed URL of an archive": source("kind=warc", f"paths=['https://host.example/a.warc.gz?token={TOKEN}']"),
    "a database's password": source("kind=sql", f"url='postgresql://me:{PASSWORD}@db/shop'", "query='SELECT 1'"),
    "a password among options": source("kind=sql", f"url='postgresql://db/a?password={PASSWORD}'", "query='SELECT 1'"),
    "a connection string": source("kind=sql", f"url='mssql+pyodbc:///?odbc_connect={ODBC}'", "query='SELECT 1'"),
    "the secret itself for its variable": source(
        "kind=sql", "url=sqlite:///a.db", "query='SELECT 1'", f"password_env='{PASSWORD}'"
    ),
    "the same of URLs": source("kind=http", f"urls_env='{TOKEN}'"),
    "a secret in an unknown option": source("kind=http", "urls=[https://a/]", f"tokn='https://a/?token={TOKEN}'"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_recipe_that_holds_a_secret_is_refused_without_showing_it(what: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compose("text", REFUSED[what])
    said = f"{refused.value} {refused.value!r}"
    assert not [secret for secret in SECRETS if secret in said], said
    assert "data.sources.mine" in said


@pytest.mark.parametrize("value", ["${oc.env:PLANTED}", "${oc.decode:'${oc.env:PLANTED}'}", "${oc.env:${name}}",
                                   "a ${oc.env:PLANTED} b", "${${name}:PLANTED}", "${hydra:runtime.cwd}"])  # fmt: skip
@pytest.mark.parametrize("where", ["override", "recipe", "list"])
def test_a_recipe_takes_nothing_from_the_environment(
    value: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLANTED", TOKEN)
    url = f"https://stranger.example/?q={value}"
    recipe, overrides = "text", (f'data.sources.mine.licence="{url}"', "data.sources.mine.paths=[a]")
    if where != "override":
        recipe, overrides = str(tmp_path / "stranger.yaml"), ()
        own: dict[str, Any] = {"paths": ["a"], "licence": url} if where == "recipe" else {"paths": ["a", url]}
        own = {"extends": "text", "data": {"sources": {"mine": {"kind": "files", **own}}}}
        Path(recipe).write_text(json.dumps(own))
    path = "paths.1" if where == "list" else "licence"
    with pytest.raises(ConfigError, match=rf"data\.sources\.mine\.{path}: \$.* is not resolved in a recipe") as refused:
        compose(recipe, overrides)
    assert TOKEN not in str(refused.value)


def test_the_options_of_a_recipe_still_name_each_other(tmp_path: Path) -> None:
    assert compose("text", ("data.sources.mine.paths=[a]", "data.sources.mine.licence='${name}'")).name == "text"


def test_a_server_that_is_not_there_is_named_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.core.services import prefect_api
    from tasks.register.mlflow_reader import Server

    url = f"http://me:{PASSWORD}@127.0.0.1:9"
    with pytest.raises((HostError, Transient)) as of_prefect:
        prefect_api.ask(f"{url}/api", "flow_runs/filter", {})
    with pytest.raises((HostError, Transient)) as of_mlflow:
        Server(url).names()
    for refused in (of_prefect, of_mlflow):
        assert "127.0.0.1:9" in str(refused.value) and PASSWORD not in f"{refused.value} {refused.value!r}"


@pytest.mark.parametrize(("held", "said"), [
    (TOKEN, "what WEB_URLS holds is neither a URL nor a file of URLs"), ("", "WEB_URLS, which is not set"),
    (f"https://host.example/a.csv?token={TOKEN} https://host.example/a.csv?token={TOKEN}x", "differ in their secret"),
])  # fmt: skip
def test_a_variable_of_urls_that_holds_something_else_is_named_and_not_shown(
    held: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEB_URLS", held)
    with pytest.raises(ConfigError, match=said) as refused:
        http.entries("web", (), "WEB_URLS")
    assert TOKEN not in str(refused.value)


def test_a_file_of_urls_that_a_recipe_names_holds_no_secret(tmp_path: Path) -> None:
    (tmp_path / "urls.txt").write_text(f"# ours\nhttps://host.example/a.csv?sig={SIGNATURE}\n")
    with pytest.raises(ConfigError, match=r"urls\.txt, line 2: holds a secret \(sig\).*urls_env") as refused:
        http.entries("web", [str(tmp_path / "urls.txt")])
    assert SIGNATURE not in str(refused.value)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    """A server that lets in whom it knows: by password, by signature, by token."""
    write_texts(tmp_path / "texts.jsonl", seed=1)
    data = (tmp_path / "texts.jsonl").read_bytes()

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            known = {
                "/password.jsonl": self.headers.get("Authorization") == f"Basic {PAIR}",
                "/signed.jsonl": f"X-Amz-Signature={SIGNATURE}" in parts.query,
                "/token.jsonl": f"token={TOKEN}" in parts.query,
            }
            self.send_response(200 if known.get(parts.path) else 403)
            body = data + b'{"nothing": 1}\n' if known.get(parts.path) else b""
            body = body.replace(b"The ", parts.path[1:6].encode().title() + b" ")
            self.send_header("Content-Length", str(len(body)))
            self.send_header("ETag", f'"{len(body)}"')
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()


RECIPE = """
extends: text
name: planted
data: {sources: {web: {kind: http, urls_env: WEB_URLS, max_bad_rows: 9}}}
"""


def found_in(folder: Path) -> list[str]:
    """The files that hold a secret; columnar ones are unpacked."""
    held = {}
    for path in folder.rglob("*"):
        if path.is_file():
            held[path] = path.read_bytes()
            if path.suffix == ".parquet":
                held[path] += pl.read_parquet(path).write_ndjson().encode()
    return [f"{path}: {secret}" for path, data in held.items() for secret in SECRETS if secret.encode() in data]


def test_a_run_with_secrets_of_each_kind_writes_and_prints_none(
    site: str, tmp_path: Path, prefect_url: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = [
        f"http://me:{PASSWORD}@{site}/password.jsonl", f"http://{site}/signed.jsonl?X-Amz-Signature={SIGNATURE}",
        f"http://{site}/token.jsonl?token={TOKEN}",
    ]  # fmt: skip
    (tmp_path / "planted.yaml").write_text(RECIPE)
    home = tmp_path / "home"
    environ = {**os.environ, "FROMZERO_HOME": str(home), "PREFECT_API_URL": prefect_url, "WEB_URLS": " ".join(whole)}

    def fromzero(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "flows.cli.main", *words]
        done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
        assert not [secret for secret in SECRETS if secret in done.stdout + done.stderr], done.stdout + done.stderr
        return done

    done = fromzero("run", str(tmp_path / "planted.yaml"), "--until", "fetch_shard", "--json")
    assert done.returncode == 0, done.stderr
    (docs,) = (home / "store" / "fetch_shard").rglob("docs.parquet")
    uris = "\n".join(pl.read_parquet(docs)["uri"])
    assert f"{site}/signed.jsonl?X-Amz-Signature=***#1" in uris and f"{site}/password.jsonl#1" in uris
    assert found_in(home) == [] and found_in(tmp_path_factory.getbasetemp() / "prefect-home0") == []

    environ["WEB_URLS"] += f" http://{site}/none.jsonl?token={TOKEN}"
    refused = fromzero("run", str(tmp_path / "planted.yaml"), "--until", "fetch_shard")
    assert refused.returncode == 2 and "none.jsonl?token=***" in refused.stderr
    assert found_in(home) == [] and found_in(tmp_path_factory.getbasetemp() / "prefect-home0") == []


@step()
def nothing(url: str, conf: None, work: Any) -> dict[str, Any]:
    """A step that says what it was given, and fails."""
    print(f"asking {url}", flush=True)
    raise RuntimeError(f"cannot reach {url}")


def test_what_a_steps_child_prints_and_how_it_fails_is_kept_without_secrets(tmp_path: Path) -> None:
    from tasks.core.engine.child_process import run_child
    from tasks.core.engine.job_file import JobFile
    from tasks.core.engine.launcher import Listener
    from tasks.core.store.lease import FileLease

    url = f"https://me:{PASSWORD}@host.example/?token={TOKEN}"
    environ, lines = {"PYTHONPATH": str(ROOT), "FROMZERO_HOME": str(tmp_path)}, list[str]()
    job = JobFile("tests.security.test_secrets:nothing", [{"value": url}], None, str(tmp_path), None, environ)
    job.write()
    with pytest.raises(FromzeroError) as failed:
        run_child(job, FileLease(0), Listener(tmp_path / "log", lines.append, lambda event: None))
    job.path.unlink()
    chained = "".join(traceback.format_exception(failed.value))
    assert "cannot reach https://host.example/?token=***" in chained and "asking https://host.example/" in lines[0]
    assert found_in(tmp_path) == []
    assert not [secret for secret in SECRETS if secret in chained]
