"""Which versions of a model there are, which is the champion, and whether their files are really there."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from tasks.core.errors import ArtifactError, ConfigError
from tasks.register.integrity import changed, registered_files
from tasks.register.mlflow_reader import ModelVersion, folder_at, source

CHAMPION = "champion"
PREVIOUS = "previous"


def names(uri: str) -> list[str]:
    """Names of all registered models, sorted."""
    return source(uri).names()


def versions(uri: str, name: str) -> list[ModelVersion]:
    """All versions of a model, by number; none if nothing is registered under that name."""
    return source(uri).versions(name)


def damage(uri: str, version: ModelVersion) -> list[str]:
    """What is wrong with a version's files, empty if they are whole.

    Every file is looked at: in a local folder to the last byte, through MLflow's server by its size; storage that
    neither reaches (a bucket) counts as whole. What is fetched is looked at to the last byte then.
    """
    if not version.location:
        return ["its files were deleted in MLflow"]
    looked = source(uri)
    sizes = looked.sizes(version.location)
    if sizes is None:
        return []
    known = {path: file.size for path, file in registered_files(version).items()}
    wrong = [
        f"{path} is missing" if path not in sizes else f"{path} has {sizes[path]} bytes, not {size}"
        for path, size in sorted((known or {"MLmodel": sizes.get("MLmodel", -1)}).items())
        if sizes.get(path) != size
    ]
    folder = folder_at(looked.place(version.location))
    return wrong or (changed(version, folder) if folder is not None else [])


def find(uri: str, name: str, weights_digest: str) -> ModelVersion | None:
    """The newest version with these weights whose files are whole."""
    same = [version for version in versions(uri, name) if version.digest == weights_digest]
    return next((version for version in reversed(same) if not damage(uri, version)), None)


def with_alias(uri: str, name: str, alias: str) -> ModelVersion | None:
    """The version that an alias points to."""
    return next((version for version in versions(uri, name) if alias in version.aliases), None)


def champion(uri: str, name: str) -> dict[str, Any] | None:
    """The present champion as an observation: name, version, weights' digest, tags; None if there is none."""
    found = with_alias(uri, name, CHAMPION)
    return None if found is None else observation(found)


def compared_with(uri: str, name: str, weights_digest: str) -> dict[str, Any] | None:
    """The champion that a candidate has to beat, or had to: the one it replaced, if it is the champion itself.

    So the gate has the same inputs, and is a hit, when a run is repeated after its model was promoted.
    """
    found = with_alias(uri, name, CHAMPION)
    if found is None or found.digest != weights_digest:
        return None if found is None else observation(found)
    replaced = found.read_tag("fromzero.incumbent", int)
    known = {version.version: version for version in versions(uri, name)}
    return observation(known[replaced]) if replaced in known else None


def observation(version: ModelVersion) -> dict[str, Any]:
    """A version as plain JSON."""
    return {"name": version.name, "version": version.version, "digest": version.digest, "tags": version.tags}


def resolve(uri: str, ref: str, whole: bool = True) -> ModelVersion:
    """The version that NAME (its champion), NAME@ALIAS or NAME@VERSION means; its files are looked at if asked for.

    Raises `ConfigError` with what there is if there is no such model, alias or version, `ArtifactError` if its files
    are gone.
    """
    name, _, which = ref.partition("@")
    which = which or CHAMPION
    known = versions(uri, name)
    if not known:
        there = names(uri)
        if name in there:
            raise ConfigError(f"{name} has no version left, somebody has deleted them: run again to register it anew")
        near = get_close_matches(name, there, n=1, cutoff=0.4)
        meant = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"no model {name!r} is registered{meant}; there are: {', '.join(there) or 'none yet'}")
    for version in known:
        if which == str(version.version) or which in version.aliases:
            if whole and (wrong := damage(uri, version)):
                raise ArtifactError(f"{name} version {version.version}: {wrong[0]}; run again to register it anew")
            return version
    there = [*(alias for version in known for alias in version.aliases), *(str(v.version) for v in known)]
    raise ConfigError(f"{name} has no {which!r}; there are: {', '.join(f'{name}@{one}' for one in there)}")
