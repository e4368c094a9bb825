"""The weights of a registered model as an artifact again: from the store, or from what was registered."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path
from typing import Any, Protocol

from tasks.core.artifact import Artifact, Manifest
from tasks.core.errors import ArtifactError
from tasks.core.small_files import clear
from tasks.register import registry
from tasks.register.generate import weights_folder
from tasks.register.integrity import changed, inside
from tasks.register.mlflow_reader import ModelVersion, sizes_in


class Looks(Protocol):
    """What is needed of the store."""

    def look(self, step: str, key: str) -> Any:
        """The manifest of a whole artifact, or why there is none."""


def unmeasurable(store: Looks, uri: str, version: ModelVersion) -> str | None:
    """Why the weights behind a version cannot be had any more; None if they can."""
    if version.digest is None or "fromzero.artifact" not in version.tags:
        return "fromzero did not register it"
    if _kept(store, version) is not None:
        return None
    wrong = registry.damage(uri, version)
    return f"its weights are gone ({wrong[0]})" if wrong else None


def _kept(store: Looks, version: ModelVersion) -> Artifact | None:
    """The artifact that a version was registered from, if the store still has it."""
    step, _, key = version.tags["fromzero.artifact"].partition("/")
    part = version.tags.get("fromzero.part")
    found = store.look(step, key)
    if not isinstance(found, Manifest):
        return None
    try:
        artifact = Artifact.of(found).part(part) if part else Artifact.of(found)
    except ArtifactError:  # another one: it has no such part
        return None
    return artifact if artifact.digest == version.digest else None


def find(store: Looks, uri: str, version: ModelVersion, home: Path) -> Artifact:
    """The model directory behind a version, its digest as when it was registered.

    If the store has forgotten the artifact, the registered files stand in for it, copied below `home` if they are not
    on this machine.
    """
    if version.digest is None or "fromzero.artifact" not in version.tags:
        raise ArtifactError(f"{version.name} version {version.version} was not registered by fromzero: promote another")
    if kept := _kept(store, version):
        return kept
    if wrong := registry.damage(uri, version):
        raise ArtifactError(
            f"{version.name} version {version.version}: {wrong[0]}, and the store has its weights no more"
        )
    step, _, key = version.tags["fromzero.artifact"].partition("/")
    part = version.tags.get("fromzero.part")
    root = home.resolve() / "mlflow" / "weights" / version.digest
    _show(uri, version, root / "content" / (part or ""))
    return Artifact(step, key, version.digest, part_name=part, root=root)


def _show(uri: str, version: ModelVersion, place: Path) -> None:
    """Let `place` hold the registered files: a link where they are on this machine, else a copy."""
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = place.with_name(f".{place.name}.{uuid.uuid4().hex}")
    if sizes_in(version.location):
        with weights_folder(uri, version) as folder:
            fresh.symlink_to(folder)
        fresh.replace(place)
    elif not place.exists() or changed(version, place, inside(version)):
        clear(place)
        with weights_folder(uri, version) as folder:
            shutil.copytree(folder, fresh)
        fresh.rename(place)
