"""A tiny pretrained model and labelled and chat documents, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tasks.tiny_model import write_docs, write_model


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("pretrained"))


@pytest.fixture(scope="session")
def docs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_docs(tmp_path_factory.mktemp("docs"))
