"""A tiny pretrained model, the fine-tuned models' folders made from it, and held-out documents."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.tasks.tiny_model import chat_rows, labelled_rows, table, write_docs, write_model


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("pretrained"))


@pytest.fixture(scope="session")
def docs_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_docs(tmp_path_factory.mktemp("docs"))


@pytest.fixture(scope="session")
def evalset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("evalset") / "test.parquet"
    long = {"text": "array axis " * 60, "source": "long"}
    table([*labelled_rows(30, 3), *chat_rows(10, 3), long, {"text": "?", "label": "unheard"}]).write_parquet(path)
    return path


@pytest.fixture(scope="session")
def chat_model(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chat") / "model"
    shutil.copytree(model_dir, folder)
    (folder / "task.json").write_text(json.dumps({"kind": "chat", "max_length": 64, "stop_id": 3}))
    return folder


@pytest.fixture(scope="session")
def classifier_model(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import AutoModelForSequenceClassification

    labels = ["click", "numpy", "pandas"]
    folder = tmp_path_factory.mktemp("classifier") / "model"
    shutil.copytree(model_dir, folder)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(
        model_dir, id2label=dict(enumerate(labels)), label2id={v: k for k, v in enumerate(labels)}, pad_token_id=0
    )
    model.save_pretrained(folder)
    task = {"kind": "classification", "labels": labels, "mask_pattern": "(?i)(?:click|numpy|pandas)", "mask": "LIB"}
    (folder / "task.json").write_text(json.dumps({**task, "max_length": 32, "max_per_class": None, "prefix": [0]}))
    return folder
