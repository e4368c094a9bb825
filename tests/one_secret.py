"""The secret that the homes of the suite share, so that whoever tests may ask all their servers."""

from __future__ import annotations

import hmac
from pathlib import Path

import pytest

from tasks.core.services import secret

SECRET = b"of the suite: " + b"0123456789abcdef" * 3
NAME, PASSWORD = "owner", hmac.digest(SECRET, b"password owner owner", "sha256").hex()
PREFECT = {"PREFECT_API_AUTH_STRING": f"{NAME}:{PASSWORD}"}
"""What Prefect's clients are given."""
MLFLOW = {"MLFLOW_TRACKING_USERNAME": NAME, "MLFLOW_TRACKING_PASSWORD": PASSWORD}
"""What MLflow's clients are given."""


def show_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let MLflow's client of this process show who it is."""
    for name, value in MLFLOW.items():
        monkeypatch.setenv(name, value)


def give(home: Path) -> Path:
    """Give a home the secret before it makes one of its own; returns the home."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = home / secret.NAME
    path.write_bytes(SECRET)
    path.chmod(0o600)
    return home
