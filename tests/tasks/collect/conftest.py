"""A real S3 server and ways to fetch a source in a test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from conf.schema.data import CollectConf
from tasks.collect.steps import fetch_shard, observe_sources
from tasks.core.workdir import Workdir
from tests.s3_server import S3Server


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One server for all tests of this folder, ended with them."""
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        yield server


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The server, with the environment through which boto3 finds it."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in (s3_server.env | {"AWS_ENDPOINT_URL": s3_server.endpoint}).items():
        monkeypatch.setenv(name, value)
    return s3_server


class Fetched:
    """What came of fetching all shards of a source named "own"."""

    def __init__(self, folder: Path, **source: Any) -> None:
        conf = CollectConf.model_validate({"sources": {"own": source}})
        self.stats: list[dict[str, Any]] = []
        self.works: list[Workdir] = []
        for shard in observe_sources(conf):
            work = Workdir(folder / "work" / shard["shard"])
            work.make()
            self.stats.append(fetch_shard.function(shard, conf.sources["own"], work))
            self.works.append(work)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """All documents, shard by shard."""
        import polars as pl

        return [row for work in self.works for row in pl.read_parquet(work / "docs.parquet").to_dicts()]

    @property
    def texts(self) -> list[str]:
        """The documents' texts."""
        return [row["text"] for row in self.rows]
