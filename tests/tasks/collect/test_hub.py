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


def test_what_is_not_there_or_not_read_is_named_with_the_mend(tmp_path: Path) -> None:
    whole = str(dataset(tmp_path / "set"))
    for name in ("saved", "json", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "saved" / "state.json").write_text("{}")
    (tmp_path / "json" / "a.json").write_text('{"text": "x"}')
    cases: list[tuple[dict[str, str], type[Exception], str]] = [
        ({"dataset": whole, "split": "tests"}, ConfigError, r"has no split 'tests'; did you mean test\?"),
        ({"dataset": whole, "config": "long"}, ConfigError, "'long' not found. Available: .*'short', 'tables'"),
        ({"dataset": str(tmp_path / "none")}, DataError, "there is no such folder"),
        ({"dataset": str(tmp_path / "empty")}, DataError, "doesn't contain any data files"),
        ({"dataset": str(tmp_path / "saved")}, ConfigError, r"written by save_to_disk.*\*\*/\*\.arrow"),
        ({"dataset": str(tmp_path / "json")}, ConfigError, r"a\.json: files of this ending are not read"),
        ({"dataset": "owner/name"}, ConfigError, "the hub is not asked while HF_HUB_OFFLINE is set: unset it"),
    ]
    for options, kind, message in cases:
        with pytest.raises(kind, match=f"{message}.*data.sources.own"):
            Fetched(tmp_path / "w", kind="hub", **options)
