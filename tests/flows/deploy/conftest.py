"""The session's Prefect server, as deployments are put in force on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import one_secret


@pytest.fixture
def api(prefect_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The session's server as the one that everything uses, also where Prefect was imported with another address."""
    monkeypatch.setenv("PREFECT_API_URL", prefect_url)
    from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

    from flows.deploy import deployments  # noqa: F401 - it imports Prefect as the command does

    secret = one_secret.PREFECT["PREFECT_API_AUTH_STRING"]
    with temporary_settings({PREFECT_API_URL: prefect_url, PREFECT_API_AUTH_STRING: secret}):
        yield prefect_url
