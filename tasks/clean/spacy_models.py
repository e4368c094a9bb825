"""What finds names: whether it is here, and in which versions. It is looked at before anything runs."""

from __future__ import annotations

import hashlib
import json
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution, entry_points
from pathlib import Path
from typing import Any

from conf.schema.clean import NameKind, NamesConf
from tasks.core.errors import ConfigError, HostError, missing_part, nearest

ENGINES = ("presidio-analyzer", "spacy")
LABELS: dict[NameKind, frozenset[str]] = {
    "person": frozenset({"PERSON", "PER", "PRS", "PS", "persName"}),
    "place": frozenset({"GPE", "LOC", "LOCATION", "GPE_LOC", "LC", "placeName", "geogName"}),
}
"""What spaCy's models call a kind."""


def recogniser(conf: NamesConf | None) -> dict[str, str] | None:
    """What shapes the names that are found, as an input of the cleaning, and so of its key: the versions of Presidio,
    spaCy and the model, or the sha256 of a model in a folder. None where names are left alone.

    Raises `HostError` for a part that is not installed, `ConfigError` for a model that knows no names of a kind.
    """
    if conf is None:
        return None
    versions = {name: _installed(name).version for name in ENGINES}
    try:
        package = distribution(conf.model)
    except PackageNotFoundError:
        package = None
    where = Path(str(package.locate_file(conf.model.replace("-", "_")))) if package else Path(conf.model)
    _check_labels(conf, _meta(conf.model, where))
    return {**versions, conf.model: package.version if package else _digest(where)}


def _installed(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError:
        raise HostError(f"data.clean.names: {missing_part(name)}") from None


def _meta(model: str, folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / "meta.json").read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        known = nearest(model, sorted(point.name for point in entry_points(group="spacy_models")))
        raise HostError(
            f"data.clean.names.model: no spaCy model {model} is installed, and no folder {model} holds one. "
            f"`{sys.executable} -m spacy download {model}` has pip install one of spaCy's own{known}"
        ) from None
    return found


def _check_labels(conf: NamesConf, meta: dict[str, Any]) -> None:
    labels = {label for some in meta.get("labels", {}).values() for label in some}
    for kind in conf.kinds:
        if not labels & LABELS[kind]:
            raise ConfigError(
                f"data.clean.names.kinds: {conf.model} knows no names of the kind {kind}: its labels are "
                f"{', '.join(sorted(labels)) or 'none'}. Take another data.clean.names.model, or leave the kind out"
            )


def _digest(folder: Path) -> str:
    """Of all files of a model, by their paths in it."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return digest.hexdigest()
