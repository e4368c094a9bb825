"""What the whole suite shares: quiet libraries, one real Prefect server, one finished run."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import one_secret
from tests.pipeline_process import House, copied, finished
from tests.postgres_server import PostgresServer
from tests.preloaded import Preloaded, preloaded

for name, value in {
    "DO_NOT_TRACK": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_OFFLINE": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "OMP_NUM_THREADS": "1",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    **one_secret.PREFECT,
}.items():
    os.environ.setdefault(name, value)

# before any test is decorated: a slow machine is no finding, whichever file is run alone
settings.register_profile(
    "fromzero", deadline=None, max_examples=50, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("fromzero")

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job hands on that it is ignored


LONGEST = (
    "integration/test_machines", "integration/test_walk", "places/test_pool", "integration/test_pipeline",
    "chaos/test_pipeline", "report/test_page", "integration/test_errors_host", "integration/test_standing",
    "chaos/test_faults", "integration/test_open_model", "infra/test_compose", "chaos/test_services",
    "chaos/test_power", "places/test_ray", "tests/test_wheel", "chaos/test_data", "chaos/test_helpers",
)  # fmt: skip
"""Files whose tests take long, the longest first."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that none is alone at the end: each of several processes begins with an equal share of the
    list, in its order, and takes from those of the others once it has none left."""
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    shares: list[list[pytest.Item]] = [[] for _ in range(processes)]
    rest = items
    for n, name in enumerate(LONGEST):
        shares[n % processes] += [item for item in rest if name in item.nodeid]
        rest = [item for item in rest if name not in item.nodeid]
    whole, over = divmod(len(items), processes)
    more = iter(rest)
    for n, share in enumerate(shares):
        share += islice(more, max(whole + (n < over) - len(share), 0))
    items[:] = [item for share in shares for item in share] + list(more)


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The home of the session's Prefect server."""
    return one_secret.give(tmp_path_factory.mktemp("prefect-home"))


@pytest.fixture(scope="session")
def prefect_url(prefect_home: Path) -> Iterator[str]:
    """The API of a real Prefect server that lives as long as the session."""
    from tasks.core.services.servers import Membership

    member = Membership(prefect_home)
    yield member.url()
    member.leave()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real Postgres that lives as long as the session; its password is in no variable."""
    with PostgresServer() as server:
        yield server


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """A command that is called within this process leaves its umask: the next test has the one of before."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty FROMZERO_HOME."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("FROMZERO_HOME", str(folder))
    monkeypatch.delenv("FROMZERO_STORE", raising=False)
    return folder


@pytest.fixture
def whole(tmp_path_factory: pytest.TempPathFactory, prefect_url: str) -> House:
    """The finished house of the session: to be looked at only."""
    return finished(tmp_path_factory, prefect_url)


@pytest.fixture
def house(whole: House, tmp_path: Path) -> House:
    """A copy of the finished house, at another path."""
    return copied(whole, tmp_path)


@pytest.fixture(scope="session")
def loaded() -> Iterator[Preloaded]:
    """The process that training processes of tests are forked from."""
    with preloaded() as process:
        yield process
