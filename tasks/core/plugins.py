"""What is added by a module in its folder, or by an entry point of another distribution: kinds of sources, of models.

A kind is known by the name of its module; the option `kind` has that name too.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

from tasks.core.errors import ConfigError, FromzeroError, HostError, nearest

GROUPS = "fromzero."
"""What the names of all groups of entry points begin with."""


@cache
def names(package: str, group: str, door: str = "") -> dict[str, str]:
    """{kind: dotted name of its module}, in order of kinds; imports none of them.

    Those in the package's own folder (a module, or a folder with __init__.py; with `door` the folders that hold such a
    module, which is what is meant then), and what installed distributions declare as entry points of `group`. Raises
    `HostError` for a name that is there twice.
    """
    found = {name: f"{package}.{name}.{door}".rstrip(".") for name in sorted(_own(package, door))}
    for entry in sorted(entry_points(group=group), key=lambda entry: entry.name):
        if entry.name in found and found[entry.name] != entry.value:
            raise HostError(
                f"{entry.value} and {found[entry.name]} are both called {entry.name} ({group}): uninstall one of them"
            )
        found[entry.name] = entry.value
    return dict(sorted(found.items()))


def module(package: str, group: str, kind: str, door: str = "") -> ModuleType:
    """The module of one kind; raises `ConfigError` for one that is not known."""
    known = names(package, group, door)
    if kind not in known:
        raise ConfigError(f"there is no kind {kind!r}{nearest(kind, known)}")
    return import_module(known[kind])


@cache
def options(package: str, group: str, door: str = "") -> dict[str, Any]:
    """{kind: its model `OPTIONS`}, in order of kinds: what a union of options is made of.

    Raises `HostError` for a module that cannot be imported or has none, or none of its own kind.
    """
    return {kind: _options(package, group, kind, door) for kind in names(package, group, door)}


def _options(package: str, group: str, kind: str, door: str) -> Any:
    name = names(package, group, door)[kind]
    try:
        found = module(package, group, kind, door).OPTIONS
        kinds = get_args(found.model_fields["kind"].annotation)
    except FromzeroError:
        raise
    except Exception as error:
        raise HostError(
            f"{name}, declared as the kind {kind} of {group}, cannot be used ({type(error).__name__}: {error}): fix "
            "it, or uninstall what declares it"
        ) from error
    if kinds != (kind,):
        raise HostError(f"{name}: its OPTIONS have to say `kind: Literal[{kind!r}]`, for that is what it is called")
    return found


@cache
def roots() -> dict[str, Path]:
    """{top-level module of a distribution that adds kinds to any group: the folder that it lies in}; imports none."""
    declared = entry_points()
    added = [entry for group in declared.groups if group.startswith(GROUPS) for entry in declared.select(group=group)]
    found = {}
    for root in sorted({entry.module.split(".")[0] for entry in added}):
        if (spec := find_spec(root)) and spec.origin:
            path = Path(spec.origin)
            found[root] = (path.parent if path.name == "__init__.py" else path).parent
    return found


def _own(package: str, door: str) -> Iterator[str]:
    spec = find_spec(package)
    assert spec is not None and spec.submodule_search_locations is not None
    for folder in map(Path, spec.submodule_search_locations):
        for path in folder.iterdir():
            if path.name == "__pycache__":  # another user's perhaps, which may not be looked into
                continue
            if not door and path.suffix == ".py" and path.stem != "__init__":
                yield path.stem
            elif (path / f"{door or '__init__'}.py").is_file():
                yield path.name
