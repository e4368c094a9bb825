"""A home with MLflow's database, tiny models as artifacts, and a fake of the store."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import tasks.core.store.open
from conf.schema.release import RegisterConf
from tasks.core.artifact import Artifact, FileEntry, Manifest, digest_of, hash_file, sha256
from tasks.core.errors import Conflict
from tasks.core.tracking.mlflow_db import tracking_uri
from tasks.core.workdir import Workdir
from tests.mlflow_server import MlflowServer, prepared_home
from tests.tasks.tiny_model import write_model

Publish = Callable[..., Artifact]
METRICS = {"bits_per_byte": 2.5, "bits_per_byte_lo": 2.4, "bits_per_byte_hi": 2.6, "gzip_bits_per_byte": 2.74}


MADE_FROM = {"code": {"version": "1"}, "conf": {"tokens": 5}, "inputs": ["d"], "format": 1}
MADE_BY = {"code": {"tasks.training.trainer.loop": "c"}}


class FakeStore:
    """The three methods of the real store that the journal needs, over files; `look` knows every artifact."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.before_set: Callable[[str], None] = lambda name: None
        self.held: set[str] = set()

    def get_ref(self, name: str) -> tuple[dict[str, Any] | None, str | None]:
        path = self.folder / f"{name}.json"
        return (json.loads(path.read_text()), hash_file(path)) if path.exists() else (None, None)

    def set_ref(self, name: str, value: dict[str, Any], etag: str | None) -> str:
        self.before_set(name)
        if self.get_ref(name)[1] != etag:
            raise Conflict(name)
        path = self.folder / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value))
        return hash_file(path)

    def refs(self) -> dict[str, dict[str, Any]]:
        paths = self.folder.rglob("*.json")
        return {str(path.relative_to(self.folder).with_suffix("")): json.loads(path.read_text()) for path in paths}

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        assert name not in self.held, "the lease is held"
        self.held.add(name)
        try:
            yield
        finally:
            self.held.discard(name)

    def look(self, step: str, key: str) -> Manifest:
        return Manifest(step, key, MADE_FROM, "", "", (), {}, (), MADE_BY)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "FROMZERO_CONTEXT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("template") / "home"


@pytest.fixture
def home(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = prepared_home(template, tmp_path / "a home")
    monkeypatch.setenv("FROMZERO_HOME", str(home))
    return home


@pytest.fixture
def uri(home: Path) -> str:
    return tracking_uri(home)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        with MlflowServer(tmp_path_factory.mktemp("server")) as server:
            yield server


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeStore:
    store = FakeStore(tmp_path / "refs")
    monkeypatch.setattr(tasks.core.store.open, "open_store", lambda: store)
    return store


@pytest.fixture
def work(tmp_path: Path) -> Workdir:
    work = Workdir(tmp_path / "work")
    work.make()
    return work


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A causal language model."""
    return write_model(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="session")
def tiny_classifier(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of two labels that hides the word secret, with a head of our own."""
    import torch

    from tasks.models.text_classification.classifier_options import ClassifyConf
    from tasks.models.text_classification.classifier_training import make_network

    folder = tmp_path_factory.mktemp("classifier") / "model"
    shutil.copytree(tiny, folder)
    torch.manual_seed(0)
    model: Any = make_network(tiny, ["numpy", "pandas"], 0, ClassifyConf(buckets=50))
    for weights in model.wide.parameters():
        torch.nn.init.normal_(weights)
    model.save_pretrained(folder)
    task = {"kind": "classification", "labels": ["numpy", "pandas"], "mask_pattern": "(?i)secret", "mask": "LIB"}
    task |= {"max_length": 8, "prefix": [0]}
    (folder / "task.json").write_text(json.dumps(task))
    return folder


@pytest.fixture
def publish(tmp_path: Path) -> Publish:
    """A folder as content/ (or one of its parts), published as an artifact."""

    def make(step: str, part: str | None, folder: Path | None, **stats: Any) -> Artifact:
        key = sha256([step, str(folder), stats])
        root = tmp_path / "artifacts" / step / key
        target = root / "content" / (part or "")
        if folder is not None:
            shutil.copytree(folder, target)
        target.mkdir(parents=True, exist_ok=True)
        if step == "gate":
            (target / "decision.json").write_text(json.dumps(stats))
        paths = sorted(path for path in root.rglob("*") if path.is_file())
        files = tuple(FileEntry(p.relative_to(root).as_posix(), p.stat().st_size, hash_file(p)) for p in paths)
        whole = Artifact(step, key, digest_of(files), stats, root=root, files=files)
        return whole.part(part) if part else whole

    return make


@pytest.fixture
def evaluation(publish: Publish, tmp_path: Path) -> Artifact:
    folder = tmp_path / "evaluation"
    folder.mkdir()
    samples = [{"prompt": "The function returns", "text": "an array"}, {"prompt": "Raises", "text": "an error"}]
    (folder / "samples.json").write_text(json.dumps(samples))
    return publish("evaluate_lm", None, folder, metrics=METRICS)


@pytest.fixture
def base() -> RegisterConf:
    return RegisterConf(name="tiny-base", kind="base", primary=True)
