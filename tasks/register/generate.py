"""Text from a registered model."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tasks.core.errors import ArtifactError, ConfigError
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
    kind = version.tags.get("fromzero.kind", "base")
    if kind == "classifier":
        raise ConfigError(f"{version.name} is a classifier and writes no text: `fromzero classify {ref} TEXT` asks it")
    from tasks.register import pyfunc

    with weights_folder(uri, version) as folder:
        model, encoder = pyfunc.load(folder, kind)
    return pyfunc.complete(
        model,
        encoder,
        prompt,
        chat=kind == "chat",
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        seed=seed,
        on_text=on_text,
    )


def classify(uri: str, ref: str, texts: Sequence[str]) -> list[dict[str, float]]:
    """For each text the probabilities of all labels, the likeliest first.

    Raises `ConfigError` if there is no such model or it is no classifier.
    """
    version = registry.resolve(uri, ref)
    if (kind := version.tags.get("fromzero.kind", "base")) != "classifier":
        raise ConfigError(
            f"{version.name} is a {kind} model and knows no labels: `fromzero generate {ref} PROMPT` asks it"
        )
    from tasks.register import pyfunc

    with weights_folder(uri, version) as folder:
        model, encoder = pyfunc.load(folder, kind)
        task = json.loads((folder / "task.json").read_text())
    found = pyfunc.classify(model, encoder, texts, task)
    return [dict(sorted(one.items(), key=lambda item: -item[1])) for one in found]


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
