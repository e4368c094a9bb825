"""A bucket of a real S3 server: transfers, connections that break, servers that are killed, refusals."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError, NoCredentialsError

from tasks.core.artifact import hash_file
from tasks.core.errors import ArtifactError, ConfigError, Conflict, FromzeroError, Transient
from tasks.core.store.s3 import S3Backend
from tasks.core.store.store import Miss, Store
from tests.ports import free_ports
from tests.s3_server import S3Server
from tests.tasks.core.backends import MB, S3Place, draft, publish, some_file
from tests.tasks.core.cutting_proxy import CuttingProxy

KEY = "a" * 64
CONTINUE = len("HTTP/1.1 100 Continue\r\n\r\n")
"""What a server says before a body is sent: an answer that is lost is longer."""


@pytest.fixture
def backend(s3_place: S3Place) -> S3Backend:
    found: S3Backend = s3_place.backend()
    return found


# transfers


def test_a_file_above_the_part_size_goes_in_parts_and_comes_back_equal(s3_place: S3Place, tmp_path: Path) -> None:
    file = some_file(tmp_path, "content/model.bin", 13 * MB)
    s3_place.backend().adopt(tmp_path, "train/key/1/", (file,))
    head = s3_place.backend().bucket._head("train/key/1/content/model.bin")
    assert head["ETag"].strip('"').endswith("-3") and head["ContentLength"] == 13 * MB
    root = s3_place.elsewhere("machine").backend().fetch("train/key/1/", (file,))
    assert hash_file(root / file.path) == file.sha256
    assert s3_place.backend().hash("train/key/1/content/model.bin", file.size) == file.sha256


@pytest.mark.parametrize("size", [100, 12 * MB])
def test_a_file_that_changed_since_it_was_hashed_is_not_published(
    backend: S3Backend, tmp_path: Path, size: int
) -> None:
    file = some_file(tmp_path, "content/model.bin", size)
    with (tmp_path / file.path).open("r+b") as changed:
        changed.write(b"changed")
    with pytest.raises(ArtifactError, match=r"model\.bin was changed while"):
        backend.adopt(tmp_path, "train/key/1/", (file,))
    assert backend.names("train/") == {} and (tmp_path / file.path).exists()
    assert "Uploads" not in backend.bucket.client.list_multipart_uploads(Bucket="tests", Prefix=backend.bucket.prefix)


def test_more_names_than_a_page_holds_are_all_listed_and_removed(backend: S3Backend, tmp_path: Path) -> None:
    files = tuple(some_file(tmp_path, f"content/{number:04d}", 1) for number in range(1050))
    backend.adopt(tmp_path, "clean/key/1/", files)
    assert backend.names("clean/key/") == {f"clean/key/1/{file.path}": 1 for file in files}
    backend.remove("clean/key/")
    assert backend.names("clean/") == {}


def test_removing_drops_the_parts_that_a_killed_upload_left(backend: S3Backend) -> None:
    client, where = backend.bucket.client, {"Bucket": "tests", "Key": f"{backend.bucket.prefix}clean/key/1/model.bin"}
    upload = client.create_multipart_upload(**where)["UploadId"]
    client.upload_part(**where, UploadId=upload, PartNumber=1, Body=b"1")
    assert set(backend.ages("clean/")) == {"clean/key/1/model.bin"} and backend.names("clean/") == {}
    backend.remove("clean/key/")
    assert "Uploads" not in client.list_multipart_uploads(Bucket="tests", Prefix=backend.bucket.prefix)


# connections that break


@pytest.fixture
def cut(s3_place: S3Place, s3_server: S3Server) -> Iterator[tuple[CuttingProxy, S3Place]]:
    with CuttingProxy(s3_server.ports[0]) as proxy:
        yield proxy, dataclasses.replace(s3_place, endpoint=proxy.endpoint, home=s3_place.home / "far", attempts=3)


def test_a_download_that_breaks_off_in_the_middle_goes_on(cut: tuple[CuttingProxy, S3Place], s3_place: S3Place) -> None:
    proxy, far = cut
    made = publish(s3_place, KEY, "x" * 3 * MB)
    proxy.cut_answers(times=1, after=MB)
    assert far.store().verify(made) == [] and proxy.cuts == 1


def test_a_download_that_always_breaks_off_is_transient(cut: tuple[CuttingProxy, S3Place], s3_place: S3Place) -> None:
    proxy, far = cut
    made = publish(s3_place, KEY, "x" * 3 * MB)
    proxy.cut_answers(times=100, after=MB)
    with pytest.raises(Transient, match="cannot be reached"):
        far.store().artifact(made)


def test_a_conditional_write_whose_answer_was_lost_has_won(cut: tuple[CuttingProxy, S3Place]) -> None:
    proxy, far = cut
    proxy.cut_answers(times=1, after=CONTINUE)
    etag = far.backend().write("_refs/a.json", b"1", None)
    proxy.cut_answers(times=1, after=CONTINUE)
    etag = far.backend().write("_refs/a.json", b"2", etag)
    assert far.backend().read("_refs/a.json") == (b"2", etag) and proxy.cuts == 2


def test_a_publication_whose_answer_was_lost_keeps_its_files(cut: tuple[CuttingProxy, S3Place]) -> None:
    proxy, far = cut
    backend = far.backend()
    real = backend.write

    def write(name: str, data: bytes, etag: str | None) -> Any:
        proxy.cut_answers(times=1, after=CONTINUE)
        return real(name, data, etag)

    backend.write = write
    made = publish(far, KEY)
    del backend.write
    assert proxy.cuts == 1 and far.store().look("clean", KEY) == made


@pytest.mark.parametrize("arrived", [True, False])
def test_an_upload_that_the_server_no_longer_knows_counts_only_if_its_object_is_whole(
    backend: S3Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arrived: bool
) -> None:
    file = some_file(tmp_path, "content/model.bin", 6 * MB)
    real = backend.bucket.client.complete_multipart_upload

    def complete(**options: Any) -> None:
        if arrived:
            real(**options)
        raise ClientError({"Error": {"Code": "NoSuchUpload"}, "ResponseMetadata": {"HTTPStatusCode": 404}}, "Complete")

    monkeypatch.setattr(backend.bucket.client, "complete_multipart_upload", complete)
    if arrived:
        backend.bucket.upload([(tmp_path / file.path, "model.bin", file)])
        assert backend.hash("model.bin", file.size) == file.sha256
    else:
        with pytest.raises(Transient, match=r"model\.bin did not arrive whole"):
            backend.bucket.upload([(tmp_path / file.path, "model.bin", file)])
        assert backend.names("") == {}


def test_a_server_killed_in_the_middle_of_an_upload_and_restarted_gets_all(mortal: tuple[S3Server, S3Place]) -> None:
    server, place = mortal
    work = place.workdir("big")
    some_file(work.content, "model.bin", 60 * MB)
    some_file(work.content, "config.json", 100)
    store, seen = place.store(), threading.Event()
    real = place.backend().bucket._upload_part

    def upload_part(name: str, where: dict[str, Any], data: bytes) -> Any:
        if where["PartNumber"] == 5:
            seen.set()
        return real(name, where, data)

    place.backend().bucket._upload_part = upload_part

    def kill_and_restart() -> None:
        seen.wait(600)
        server.kill()
        time.sleep(0.5)
        server.start()

    killer = threading.Thread(target=kill_and_restart)
    killer.start()
    try:
        made = store.publish(work, draft("train", KEY))
    except Transient:
        killer.join()
        assert store.look("train", KEY) == Miss("not made yet") and work.content.exists()
        made = store.publish(work, draft("train", KEY))
    killer.join()
    assert store.look("train", KEY) == made
    assert place.elsewhere("machine").store().verify(made) == []


def test_a_server_that_is_gone_for_good_is_transient_and_the_next_run_goes_on(mortal: tuple[S3Server, S3Place]) -> None:
    server, place = mortal
    hasty = dataclasses.replace(place, attempts=2)
    work = place.workdir("small")
    some_file(work.content, "model.bin", 12 * MB)
    server.kill()
    with pytest.raises(Transient, match=rf"s3://tests/prefix/ at {server.endpoint}.*cannot be reached"):
        hasty.store().publish(work, draft("train", KEY))
    for look in (lambda: hasty.store().look("train", KEY), lambda: hasty.store().get_ref("a")):
        with pytest.raises(Transient):
            look()
    server.start()
    assert place.store().look("train", KEY) == Miss("not made yet")
    made = place.store().publish(work, draft("train", KEY))
    assert place.store().look("train", KEY) == made


def test_a_manifest_survives_the_server(mortal: tuple[S3Server, S3Place]) -> None:
    server, place = mortal
    made = publish(place, KEY)
    server.kill()
    server.start()
    assert place.store().look("clean", KEY) == made and place.elsewhere("machine").store().verify(made) == []


# refusals


def refused(place: S3Place) -> FromzeroError:
    with pytest.raises(FromzeroError) as caught:
        Store(S3Backend(place.bucket, "p", place.home, place.endpoint, attempts=2)).set_ref("a", {}, None)
    return caught.value


@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_wrong_credentials_are_a_config_error(
    s3_place: S3Place, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "wrong")
    error = refused(s3_place)
    assert isinstance(error, ConfigError) and "check AWS_ACCESS_KEY_ID" in str(error) and "s3://tests" in str(error)


def test_missing_credentials_are_a_config_error(
    s3_place: S3Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(variable)
    for variable in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(variable, str(tmp_path / "none"))
    error = refused(s3_place)
    assert isinstance(error, ConfigError) and "set AWS_ACCESS_KEY_ID" in str(error)


def test_a_missing_bucket_is_a_config_error(s3_place: S3Place) -> None:
    error = refused(dataclasses.replace(s3_place, bucket="no-such-bucket"))
    assert isinstance(error, ConfigError) and "no-such-bucket" in str(error) and "store.bucket" in str(error)


def test_an_address_that_is_none_is_a_config_error(s3_place: S3Place) -> None:
    assert isinstance(refused(dataclasses.replace(s3_place, endpoint="localhost:1")), ConfigError)


def test_an_address_where_nobody_listens_is_transient(s3_place: S3Place) -> None:
    endpoint = f"http://127.0.0.1:{free_ports(1)[0]}"
    error = refused(dataclasses.replace(s3_place, endpoint=endpoint))
    assert isinstance(error, Transient) and endpoint in str(error)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (500, "InternalError", Transient),
        (503, "SlowDown", Transient),
        (429, "TooManyRequests", Transient),
        (400, "RequestTimeout", Transient),
        (400, "BadDigest", Transient),
        (403, "AccessDenied", ConfigError),
        (403, "RequestTimeTooSkewed", ConfigError),
        (400, "ExpiredToken", ConfigError),
        (301, "PermanentRedirect", ConfigError),
        (404, "NoSuchBucket", ConfigError),
        (404, "NoSuchKey", FileNotFoundError),
        (409, "ConditionalRequestConflict", Conflict),
        (412, "PreconditionFailed", Conflict),
        (400, "EntityTooLarge", ArtifactError),
    ],
)
def test_each_answer_of_a_server_has_its_place_in_the_tree(
    backend: S3Backend, status: int, code: str, kind: type[Exception]
) -> None:
    answer: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    with pytest.raises(kind) as caught, backend.bucket._sorted("name"):
        raise ClientError(answer, "PutObject")
    assert type(caught.value) is kind


def test_lost_credentials_are_no_reason_to_try_again(backend: S3Backend) -> None:
    with pytest.raises(ConfigError), backend.bucket._sorted("name"):
        raise NoCredentialsError
