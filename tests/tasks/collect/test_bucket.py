"""Files on a real S3 server."""

from __future__ import annotations

import gzip
import itertools
import threading
from pathlib import Path

import numpy as np
import pytest

from conf.schema.data import CollectConf
from tasks.collect import bucket as bucket_module
from tasks.collect import places
from tasks.collect.steps import fetch_shard, observe_sources
from tasks.core.errors import ConfigError, DataError, Transient
from tasks.core.workdir import Workdir
from tests.s3_server import S3Server
from tests.tasks.collect.conftest import Fetched


@pytest.fixture(scope="module")
def bucket(s3_server: S3Server) -> str:
    """A bucket with two folders that share a prefix."""
    client, name = s3_server.client(), s3_server.make_bucket("texts")
    objects = {
        "data/a.txt": b"one",
        "data/deep/b.jsonl.gz": gzip.compress(b'{"text": "two"}\n{"text": "three"}'),
        "data/ignored.bin": b"\0",
        "database/c.txt": b"not this one",
    }
    for key, body in objects.items():
        client.put_object(Bucket=name, Key=key, Body=body)
    return name


def test_a_prefix_is_a_folder_of_files_with_known_endings(s3: S3Server, bucket: str, tmp_path: Path) -> None:
    rows = Fetched(tmp_path, kind="files", paths=[f"s3://{bucket}/data"]).rows
    assert [(row["uri"], row["text"]) for row in rows] == [
        ("a.txt", "one"),
        ("deep/b.jsonl.gz#1", "two"),
        ("deep/b.jsonl.gz#2", "three"),
    ]


def test_globs_and_single_objects_are_found(s3: S3Server, bucket: str) -> None:
    found = [
        entry["uri"] for entry in places.entries("own", [f"s3://{bucket}/data*/*.txt", f"s3://{bucket}/data/a.txt"])
    ]
    assert found == [f"s3://{bucket}/data/a.txt", f"s3://{bucket}/database/c.txt"]


def test_a_listing_of_more_than_a_page_is_whole(s3: S3Server) -> None:
    client, name = s3.client(), s3.make_bucket("pages")
    for number in range(1005):
        client.put_object(Bucket=name, Key=f"{number:04d}.txt", Body=b"x")
    assert len(places.entries("own", [f"s3://{name}"])) == 1005


def test_an_object_changed_since_the_listing_is_refused(s3: S3Server, bucket: str, tmp_path: Path) -> None:
    client = s3.client()
    client.put_object(Bucket=bucket, Key="changing/a.txt", Body=b"one")
    source = {"kind": "files", "paths": [f"s3://{bucket}/changing"]}
    conf = CollectConf.model_validate({"sources": {"own": source}})
    (shard,) = observe_sources(conf)
    client.put_object(Bucket=bucket, Key="changing/a.txt", Body=b"two")
    work = Workdir(tmp_path)
    work.make()
    with pytest.raises(DataError, match="has changed or gone since it was listed"):
        fetch_shard.function(shard, conf.sources["own"], work)


def test_what_is_not_there_or_not_allowed_is_told_apart(
    s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="no such bucket"):
        places.entries("own", ["s3://nowhere/data"])
    with pytest.raises(DataError, match="no such object"):
        places.entries("own", [f"s3://{bucket}/missing"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(ConfigError, match="refuses access"):
        places.entries("own", [f"s3://{bucket}/data"])
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ConfigError, match="AWS_ENDPOINT_URL"):
        places.entries("own", [f"s3://{bucket}/data"])


def test_a_server_that_does_not_answer_may_be_tried_again(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with pytest.raises(Transient):
        places.entries("own", ["s3://texts/data"])


def test_a_server_that_dies_in_the_middle_of_an_object_is_waited_for(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, name = s3.client(), s3.make_bucket("large")
    data = np.random.default_rng(0).bytes(5 * bucket_module.RANGE // 2)
    client.put_object(Bucket=name, Key="a.txt", Body=data)
    (entry,) = places.entries("own", [f"s3://{name}/a.txt"])
    monkeypatch.setattr(bucket_module, "PAUSES", (0.5,) * 600)
    again = threading.Timer(1.0, s3.start)
    reads = itertools.count(1)

    def die(**_: object) -> None:
        if next(reads) == 3:  # two ranges are on their way
            s3.kill()
            again.start()

    hooked = bucket_module._client()
    hooked.meta.events.register("before-call.s3.GetObject", die)
    try:
        bucket_module.download(entry["uri"], entry["stamp"], tmp_path / "copy")
    finally:
        hooked.meta.events.unregister("before-call.s3.GetObject", die)
        again.join()
    assert next(reads) > 3 and (tmp_path / "copy").read_bytes() == data
    assert [path.name for path in tmp_path.iterdir()] == ["copy"]
