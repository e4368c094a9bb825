"""A real S3 server, processes that race, and a place on each backend."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.s3_server import S3Server
from tests.tasks.core.backends import Crowd, LocalPlace, Place, S3Place

BUCKET = "tests"


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One server for all tests that leave it alone; its credentials are in the environment."""
    with S3Server(tmp_path_factory.mktemp("s3")) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.env.items():
            patch.setenv(name, value)
        server.make_bucket(BUCKET)
        yield server


@pytest.fixture(scope="session")
def crowd(s3_server: S3Server) -> Iterator[Crowd]:
    """Eight processes, started once."""
    crowd = Crowd()
    yield crowd
    crowd.close()


@pytest.fixture
def s3_place(s3_server: S3Server, tmp_path: Path) -> S3Place:
    """An empty store on S3."""
    return S3Place(tmp_path / "home", s3_server.endpoint, BUCKET, uuid.uuid4().hex)


@pytest.fixture
def mortal(tmp_path: Path, s3_server: S3Server) -> Iterator[tuple[S3Server, S3Place]]:
    """A server that a test may kill, and a place on it."""
    with S3Server(tmp_path / "server") as server:
        server.make_bucket("tests")
        yield server, S3Place(tmp_path / "home", server.endpoint, "tests", "prefix")


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty store on each backend."""
    if request.param == "local":
        return LocalPlace(tmp_path / "home")
    found: S3Place = request.getfixturevalue("s3_place")
    return found
