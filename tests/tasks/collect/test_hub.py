"""Datasets by split and configuration: in a local folder, and on a server that answers as the hub does."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import polars as pl
import pytest

from conf.schema.data import CollectConf
from tasks.collect.listing import assignment_of, observe_sources
from tasks.core.errors import ConfigError, DataError
from tests.tasks.collect.conftest import Fetched

CARD = """---
configs:
- config_name: short
  default: true
  data_files: [{split: train, path: "short/train-*.jsonl"}, {split: test, path: "short/test.jsonl"}]
- config_name: tables
  data_files: [{split: train, path: "tables/*.parquet"}]
---
"""


def dataset(folder: Path) -> Path:
    """A folder laid out like a repository of the hub, with two configurations."""
    (folder / "short").mkdir(parents=True)
    (folder / "tables").mkdir()
    (folder / "README.md").write_text(CARD)
    for name, words in {"train-0": ["one", "two"], "train-1": ["three"], "test": ["four"]}.items():
        lines = [json.dumps({"body": word, "kind": n}) for n, word in enumerate(words)]
        (folder / "short" / f"{name}.jsonl").write_text("\n".join(lines))
    pl.DataFrame({"text": ["from a table"]}).write_parquet(folder / "tables" / "a.parquet")
    return folder


def test_a_folder_gives_the_files_of_a_split_and_new_ones_come_into_new_shards(tmp_path: Path) -> None:
    source = {"kind": "hub", "dataset": str(dataset(tmp_path / "set")), "text": "body", "label": "kind"}
    fetched = Fetched(tmp_path / "w", **source, licence="CC0-1.0")
    assert [(row["text"], row["label"], row["uri"]) for row in fetched.rows] == [
        ("one", "0", "short/train-0.jsonl#1"),
        ("two", "1", "short/train-0.jsonl#2"),
        ("three", "0", "short/train-1.jsonl#1"),
    ]
    assert Fetched(tmp_path / "t", **source | {"split": "test"}).texts == ["four"]
    assert Fetched(tmp_path / "c", kind="hub", dataset=source["dataset"], config="tables").texts == ["from a table"]
    conf = CollectConf.model_validate({"sources": {"own": source}})
    first = observe_sources(conf)
    (tmp_path / "set" / "short" / "train-00.jsonl").write_text('{"body": "new"}')
    grown = observe_sources(conf, assignment_of(first))
    assert grown[:1] == first and [entry["name"] for entry in grown[1]["entries"]] == ["short/train-00.jsonl"]


def test_what_is_not_there_or_not_read_is_named_with_the_fix(tmp_path: Path) -> None:
    whole = str(dataset(tmp_path / "set"))
    for name in ("saved", "json", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "saved" / "state.json").write_text("{}")
    (tmp_path / "json" / "a.json").write_text('{"data": [{"text": "x"}]}')
    (tmp_path / "json" / "README.md").write_text(
        "---\nconfigs:\n- {config_name: default, data_files: a.json, field: data}\n---\n"
    )
    (tmp_path / "sound").mkdir()
    (tmp_path / "sound" / "a.wav").write_bytes(b"RIFF")
    cases: list[tuple[dict[str, str], type[Exception], str]] = [
        ({"dataset": whole, "split": "tests"}, ConfigError, r"has no split 'tests'; did you mean test\?"),
        ({"dataset": whole, "config": "long"}, ConfigError, "'long' not found. Available: .*'short', 'tables'"),
        ({"dataset": str(tmp_path / "none")}, DataError, "there is no such folder"),
        ({"dataset": str(tmp_path / "empty")}, DataError, "doesn't contain any data files"),
        ({"dataset": str(tmp_path / "saved")}, ConfigError, r"written by save_to_disk.*\*\*/\*\.arrow"),
        ({"dataset": str(tmp_path / "json")}, ConfigError, r"a\.json: .*from the field 'data'.*JSON lines"),
        ({"dataset": str(tmp_path / "sound")}, ConfigError, r"a\.wav: files of this ending are not read.*\.ndjson"),
        ({"dataset": "owner/name"}, ConfigError, "the hub is not asked while HF_HUB_OFFLINE is set: unset it"),
    ]
    for options, kind, message in cases:
        with pytest.raises(kind, match=f"{message}.*data.sources.own"):
            Fetched(tmp_path / "w", kind="hub", **options)


def test_json_files_give_the_rows_that_datasets_finds_in_them(tmp_path: Path) -> None:
    from datasets import load_dataset

    rows = [{"text": f"{n} " + word, "n": n} for n, word in enumerate(["one", "é\u2028", "[3]", '"4"'])]
    forms = {
        "list": json.dumps(rows),
        "pretty": json.dumps(rows, indent=2, ensure_ascii=False) + "\n",
        "lines": "\n".join(map(json.dumps, rows)),
        "texts": json.dumps([row["text"] for row in rows]),
    }
    for form, written in forms.items():
        folder = tmp_path / form
        folder.mkdir()
        (folder / "train.json").write_text(written, encoding="utf-8")
        theirs = load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))["text"]
        fetched = Fetched(tmp_path / "w" / form, kind="hub", dataset=str(folder))
        assert fetched.texts == list(theirs) == [row["text"] for row in rows]
        assert [row["uri"] for row in fetched.rows] == [f"train.json#{n}" for n in range(1, 5)]


SHA = "0123456789abcdef0123456789abcdef01234567"


class Hub(ThreadingHTTPServer):
    """Answers for one dataset as the hub's API does: what it is, its files, and what they hold."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.folder = folder
        self.url = f"http://127.0.0.1:{self.server_port}"

    def about(self, path: str) -> dict[str, object]:
        raw = (self.folder / path).read_bytes()
        return {"type": "file", "path": path, "size": len(raw), "oid": hashlib.sha1(raw).hexdigest()}

    def files(self) -> list[str]:
        return sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())


class Answers(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def answer(self, raw: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(raw)), "X-Repo-Commit": SHA} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(raw)

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        if path.startswith("/datasets/own/set/resolve/"):
            name = path.removeprefix("/datasets/own/set/resolve/").partition("/")[2]
            if name not in self.server.files():
                self.answer(b"", 404, X_Error_Code="EntryNotFound")
                return
            self.answer((self.server.folder / name).read_bytes(), ETag=f'"{self.server.about(name)["oid"]}"')
        elif not path.startswith("/api/datasets/own/set"):
            self.answer(b"{}", 404, X_Error_Code="RepoNotFound")
        elif "/tree/" in path:
            below = path.partition("/tree/")[2].partition("/")[2]
            names = [name for name in self.server.files() if name.startswith(below)]
            folders = sorted({name.rpartition("/")[0] for name in names if "/" in name})
            listed = [{"type": "directory", "path": name, "size": 0, "oid": "0" * 40} for name in folders]
            self.answer(json.dumps([*listed, *map(self.server.about, names)]).encode())
        else:
            about = {"id": "own/set", "sha": SHA, "siblings": [{"rfilename": name} for name in self.server.files()]}
            self.answer(json.dumps(about).encode())

    do_HEAD = do_GET

    def do_POST(self) -> None:
        asked = unquote(self.rfile.read(int(self.headers["Content-Length"])).decode())
        names = [name for name in self.server.files() if name in asked]
        self.answer(json.dumps([self.server.about(name) for name in names]).encode())


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    server = Hub(dataset(tmp_path / "set"))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


PROGRAM = """
import json, sys
from pathlib import Path
from tests.tasks.collect.conftest import Fetched
from tasks.collect.steps import observe_sources
from conf.schema.data import CollectConf
source = {"kind": "hub", "dataset": "own/set", "text": "body"}
folder = Path(sys.argv[1])
fetched = Fetched(folder / "w", **source)
entries = observe_sources(CollectConf.model_validate({"sources": {"own": source}}))[0]["entries"]
left = sorted(path.name for path in (folder / "w").rglob("*.jsonl"))
said = []
for wrong in ({"dataset": "own/none"}, {"split": "valid"}):
    try:
        Fetched(folder / "x", **source | wrong)
    except Exception as error:
        said.append(f"{type(error).__name__}: {error}")
print(json.dumps([fetched.rows, entries, left, said]))
"""


def test_files_of_the_hub_are_listed_by_hash_and_read_one_by_one(hub: Hub, tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if name not in ("HF_HUB_OFFLINE", "HF_TOKEN")}
    env |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_TELEMETRY": "1"}
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path)], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows, entries, left, said = json.loads(done.stdout)
    assert [(row["text"], row["uri"]) for row in rows] == [
        ("one", "short/train-0.jsonl#1"),
        ("two", "short/train-0.jsonl#2"),
        ("three", "short/train-1.jsonl#1"),
    ]
    name = "short/train-0.jsonl"
    about = hub.about(name)
    assert entries[0] == {
        "uri": f"hf://datasets/own/set/{name}", "name": name, "size": about["size"], "stamp": about["oid"],
    }  # fmt: skip
    assert left == []
    assert "DataError: Dataset 'own/none' doesn't exist" in said[0] and "ConfigError" in said[1]
