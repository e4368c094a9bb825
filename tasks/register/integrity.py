"""Whether the files of a registered version are, to the last byte, those that were registered."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tasks.core.artifact import FileEntry, digest_of
from tasks.core.errors import ArtifactError
from tasks.core.hashes import Hashes
from tasks.core.inner_path import InnerPath
from tasks.register.context import run_context
from tasks.register.mlflow_reader import ModelVersion

FILES = "fromzero.files"
"""The tag that names each file with its size and hash."""
LOAD_FROM = "artifacts/model"
"""Where, inside a registered model, the folder for transformers' `from_pretrained` is."""
CARD = "README.md"
"""In that folder, and beside it: written when a model is registered, no part of the weights' digest."""


class Registered(NamedTuple):
    """A file as it was registered."""

    size: int
    sha256: str | None
    """None for versions from before hashes were kept."""


def registered_files(version: ModelVersion) -> dict[str, Registered]:
    """The files of a version by their paths inside it; none if its tag is missing or is not ours.

    Raises `ArtifactError` for a path that leads out of it.
    """
    found: dict[str, Registered] = {}
    for path, about in (version.read_tag(FILES, dict) or {}).items():
        size, digest = about if isinstance(about, list) and len(about) == 2 else (about, None)
        if not isinstance(size, int) or not isinstance(digest, str | None):
            raise ArtifactError(f"{version.name} version {version.version}: its tag {FILES} is not ours: register anew")
        found[InnerPath(path, f"{version.name} version {version.version}")] = Registered(size, digest)
    return found


def inside(version: ModelVersion) -> str:
    """Where the folder for transformers is in a version's files; raises `ArtifactError` if its tag leads elsewhere."""
    return InnerPath(version.tags.get("fromzero.load_from", LOAD_FROM), f"{version.name} version {version.version}")


def changed(version: ModelVersion, folder: Path, below: str = "", anew: bool = False) -> list[str]:
    """What in a folder with a version's files (with `below`, those of one of its folders) is not as registered.

    Files are hashed once for as long as they stay as they are; `anew` reads them whatever is remembered.
    """
    hashes = Hashes(run_context().home)
    read = hashes.anew if anew else hashes.of
    prefix = f"{below}/" if below else ""
    known = {
        path.removeprefix(prefix): file for path, file in registered_files(version).items() if path.startswith(prefix)
    }
    if not known:
        return []
    wrong = []
    for path, file in sorted(known.items()):
        try:
            if file.sha256 is not None and read(InnerPath(path).below(folder)) != file.sha256:
                wrong.append(f"{path} has other bytes than when it was registered")
        except FileNotFoundError:
            wrong.append(f"{path} is missing")
        except ArtifactError as error:
            wrong.append(str(error))
    there = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()
    }
    own = f"{inside(version)}/".removeprefix(prefix)  # beside it MLflow itself leaves notes
    added = [path for path in sorted(there - known.keys()) if path.startswith(own) and "__pycache__/" not in path]
    wrong += [f"{path} was not registered" for path in added]
    if not wrong and all(file.sha256 is None for file in known.values()):
        wrong += _other_weights(version, folder / inside(version).removeprefix(prefix), read)
    return wrong


def _other_weights(version: ModelVersion, folder: Path, read: Callable[[Path], str]) -> list[str]:
    """Of a version from before hashes were kept: its weights, by the digest of their folder."""
    if "fromzero.artifact" not in version.tags or not folder.is_dir():
        return []
    paths = [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    names = {path.relative_to(folder).as_posix(): path for path in paths}
    files = [FileEntry(f"content/{name}", 0, read(path)) for name, path in names.items() if name != CARD]
    if digest_of(files) == version.digest:
        return []
    return [f"{LOAD_FROM} has other bytes than when it was registered"]
