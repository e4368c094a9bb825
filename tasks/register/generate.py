"""Text from a registered model."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from tasks.core.errors import ArtifactError, ConfigError
from tasks.formats.model_folder import read_task
from tasks.models import kind as kinds
from tasks.models.kind import Kind
from tasks.register import registry
from tasks.register.integrity import changed, inside
from tasks.register.mlflow_reader import ModelVersion, folder_at, sizes_in


def generate(
    uri: str,
    ref: str,
    prompt: str,
    max_new_tokens: int = 128,
    temperature: float = 0.8,
    seed: int = 0,
    on_text: Callable[[str], None] | None = None,
) -> str:
    """Continue or answer `prompt` with the model that NAME, NAME@ALIAS or NAME@VERSION means; only the new text.

    `on_text` gets the text as it is written. Raises `ConfigError` if there is no such model or it writes no text.
    """
    if max_new_tokens < 1 or temperature < 0:
        raise ConfigError("max_new_tokens must be 1 or more and temperature 0 or more")
    version = registry.resolve(uri, ref)
    kind = kind_of(version)
    if not kind.writes:
        raise ConfigError(f"{version.name} is {kind.noun} and writes no text: `fromzero predict {ref} TEXT` asks it")
    asking = import_module(kind.answering)
    with weights_folder(uri, version) as folder:
        model, encoder = asking.load(folder)
        task = read_task(folder)
    how = {"max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed, "on_text": on_text}
    (text,) = asking.answer(model, encoder, [prompt], task, **how)
    return str(text)


def predict(uri: str, ref: str, texts: Sequence[str]) -> list[Any]:
    """What a model answers to each text: a text, or a row of its kind's columns, of which probabilities are sorted, the
    likeliest first.

    Raises `ConfigError` if there is no such model.
    """
    version = registry.resolve(uri, ref)
    kind = kind_of(version)
    asking = import_module(kind.answering)
    with weights_folder(uri, version) as folder:
        model, encoder = asking.load(folder)
        task = read_task(folder)
    found = asking.answer(model, encoder, texts, task, **kind.params)
    ranked = [name for name, what in kind.columns.items() if what == "probabilities"]
    for row in found if ranked else ():
        row.update({name: dict(sorted(row[name].items(), key=lambda item: -item[1])) for name in ranked})
    return list(found)


def kind_of(version: ModelVersion) -> Kind:
    """The kind of a registered version; raises `ConfigError` for one that fromzero did not register."""
    if "fromzero.kind" not in version.tags:
        raise ConfigError(
            f"{version.name} version {version.version} was not registered by fromzero: its tag fromzero.kind, which "
            "says what kind of model it is, is missing"
        )
    return kinds.of(version.tags["fromzero.kind"])


@contextmanager
def weights_folder(uri: str, version: ModelVersion) -> Iterator[Path]:
    """The local folder for transformers' `from_pretrained`; fetched while inside where it is not on this machine.

    Raises `ArtifactError` if any file of the version has other bytes than when it was registered, or was added.
    """
    with package_folder(uri, version) as folder:
        if wrong := changed(version, folder):
            raise ArtifactError(f"{version.name} version {version.version}: {wrong[0]}; run again to register it anew")
        yield folder / inside(version)


@contextmanager
def package_folder(uri: str, version: ModelVersion) -> Iterator[Path]:
    """The local folder with all files of a version, as they are."""
    folder = folder_at(version.location)
    if folder is not None and sizes_in(version.location):
        yield folder
        return
    from mlflow.artifacts import download_artifacts

    from tasks.register.mlflow_writer import mlflow_at

    with mlflow_at(uri), tempfile.TemporaryDirectory(prefix="fromzero-model-") as temporary:
        source = f"models:/{version.name}/{version.version}"
        yield Path(download_artifacts(source, dst_path=temporary, tracking_uri=uri, registry_uri=uri))
