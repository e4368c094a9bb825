"""A small server on this machine that speaks the hub's API: models in folders, their commits, gates and cut lines."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from safetensors import safe_open


class Hub(ThreadingHTTPServer):
    """Holds models by OWNER/NAME: {branch, tag or commit: folder}."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.models: dict[str, dict[str, tuple[str, Path]]] = {}
        """By name and revision the commit and the folder."""
        self.token: str | None = None
        """What lets in to gated models."""
        self.cut_after: int | None = None
        """Bytes of a large file after which the line breaks; then the hub is down."""
        self.down = False
        self.counts = True
        """Whether it says how many parameters a model has."""
        self.asked: list[tuple[str, str, str | None]] = []
        """(method, path, Range) of each request."""
        self.url = f"http://127.0.0.1:{self.server_port}"

    def put(self, name: str, folder: Path, *revisions: str) -> str:
        """Add what a folder holds as a commit, at branches and tags; the commit."""
        files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
        commit = hashlib.sha1(b"".join(key.encode() + value for key, value in files.items())).hexdigest()
        for revision in (commit, *revisions):
            self.models.setdefault(name, {})[revision] = commit, folder
        return commit

    def env(self, folder: Path, **more: str) -> dict[str, str]:
        """The environment of a process that asks this hub and no other; its cache is in a folder."""
        kept = {name: value for name, value in os.environ.items() if name not in ("HF_HUB_OFFLINE", "HF_TOKEN")}
        own = {"HF_ENDPOINT": self.url, "HF_HOME": str(folder / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1"}
        return {**kept, **own, "HF_HUB_DISABLE_XET": "1", **more}


class Answers(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, raw: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(raw))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.server.cut_after is not None and len(raw) > self.server.cut_after:
            self.wfile.write(raw[: self.server.cut_after])
            self.wfile.flush()
            self.server.cut_after, self.server.down, self.close_connection = None, True, True
            self.connection.close()
            return
        self.wfile.write(raw)

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append((self.command, path, self.headers.get("Range")))
        about = re.fullmatch(r"/api/models/([^/]+/[^/]+)/revision/(.+)", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        found = about or file
        name = found[1] if found else ""
        if self.server.down:
            self.answer(b"{}", 500)
        elif found is None or name not in self.server.models:
            self.answer(b"{}", 404, X_Error_Code="RepoNotFound")
        elif found[2] not in self.server.models[name]:
            self.answer(b"{}", 404, X_Error_Code="RevisionNotFound")
        elif file and self.server.token and self.headers.get("Authorization") != f"Bearer {self.server.token}":
            self.answer(b"{}", 403, X_Error_Code="GatedRepo")
        elif about:
            self.answer(json.dumps(self.about(name, *self.server.models[name][found[2]])).encode())
        else:
            self.file(*self.server.models[name][found[2]], found[3])

    do_HEAD = do_GET

    def about(self, name: str, commit: str, folder: Path) -> dict[str, Any]:
        def one(path: Path) -> dict[str, Any]:
            raw = path.read_bytes()
            known = {"rfilename": path.name, "size": len(raw), "blobId": hashlib.sha1(raw).hexdigest()}
            large = {"sha256": hashlib.sha256(raw).hexdigest(), "size": len(raw), "pointerSize": 134}
            return {**known, **({"lfs": large} if path.suffix == ".safetensors" else {})}

        found = {"id": name, "sha": commit, "siblings": [one(path) for path in sorted(folder.iterdir())]}
        if not self.server.counts:
            return found
        with safe_open(folder / "model.safetensors", "np") as held:
            total = sum(math.prod(held.get_slice(name).get_shape()) for name in held.offset_keys())
        return {**found, "safetensors": {"parameters": {"F32": total}, "total": total}}

    def file(self, commit: str, folder: Path, name: str) -> None:
        if not (folder / name).is_file():
            self.answer(b"", 404, X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
            return
        raw = (folder / name).read_bytes()
        headers = {"ETag": f'"{hashlib.sha256(raw).hexdigest()}"', "X_Repo_Commit": commit, "Accept_Ranges": "bytes"}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked is None:
            self.answer(raw, **headers)
            return
        begin, end = int(asked[1]), min(int(asked[2] or len(raw) - 1), len(raw) - 1)
        part = raw[begin : end + 1]
        self.answer(part, 206, **headers, Content_Range=f"bytes {begin}-{end}/{len(raw)}")


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub for as long as it is needed."""
    server = Hub()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def hub() -> Iterator[Hub]:
    """A hub that holds nothing yet."""
    with serving() as server:
        yield server
