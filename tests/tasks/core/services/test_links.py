"""Addresses of pages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.core.services import links


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PREFECT_API_URL", "PREFECT_UI_URL", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


def test_links_lead_to_the_lasting_pages_when_the_server_goes_with_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prefect").mkdir()
    (tmp_path / "prefect" / "server.json").write_text(json.dumps({"url": "http://127.0.0.1:40001/api"}))
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:40001/api")
    assert links.flow_run(tmp_path, "id") == "http://127.0.0.1:4200/runs/flow-run/id"
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect:4200/api")
    assert links.flow_run(tmp_path, "id") == "http://prefect:4200/runs/flow-run/id"


def test_no_password_gets_into_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:secret@mlflow.example/base/")
    assert links.mlflow_run(tmp_path, "1", "r").startswith("https://mlflow.example/base/#/experiments/1/runs/r")


def test_a_database_has_no_pages_and_is_shown_where_they_are_served(tmp_path: Path) -> None:
    assert links.model_version(tmp_path, "demo-base", 2).startswith(
        "http://127.0.0.1:5000/#/models/demo-base/versions/2"
    )
