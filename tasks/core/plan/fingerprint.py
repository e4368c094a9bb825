"""What code a step reaches, in a form that comments, docstrings, layout and the places of files do not change.

The unit is a definition: a function, a class, a value of a module. Reached are a step's function, what it names, what
that names, and so on, through lazy imports and strings that name a module (`python -m`); and of each module that is
imported on the way what it does when it is imported. A definition's digest holds its syntax tree and, for each name
that it has from elsewhere, what stands behind it; so a file may be moved, split or renamed, and nothing changes.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tasks.core.errors import ConfigError, HostError, missing_part
from tasks.core.interpreter import ROOT
from tasks.core.plan import source_code
from tasks.core.step import Step

PLUMBING = ("tasks.core", "tasks.corpus", "tasks.views")
"""Packages that move and show artifacts and never shape them."""

EVERYTHING = "*"
"""Stands for all names of a module."""


@dataclass(frozen=True)
class Code:
    """What a step's output depends on besides inputs and options."""

    digest: str
    """Of all of it, without the names of modules and folders."""
    parts: dict[str, str]
    """For a person: {module, data file or library: digest or version}."""


@cache
def fingerprint(step: Step) -> Code:
    """The code that a step reaches, with its data files and the versions of its libraries.

    Of a step that serves several kinds, or has options that may be off, this is the code at hand: what `Step.of` says.
    """
    unused = frozenset(step.unused)
    reach = _Reach(unused)
    reach.name(step.function.__module__, step.function.__name__)
    for place in step.reaches:
        reach.name(*place.split(":"))
    data = {path: _data_digest(step.name, path) for path in step.data}
    libraries = {library: library_version(step.name, library) for library in step.libraries}
    files = sorted([Path(path).name, digest] for path, digest in data.items())
    whole = [sorted({_definition_digest(*found, unused) for found in reach.found}), files, libraries]
    return Code(_digest(whole), dict(sorted({**reach.by_module(), **data, **libraries}.items())))


def fingerprint_now(step: Step) -> Code:
    """The same, of the code as it lies there now, whatever this process has read before."""
    if source_code.edited():
        source_code.forget()
        for known in (fingerprint, _ours, _named, _definition, _meaning, _origin, _definition_digest):
            known.cache_clear()
    return fingerprint(step)


def versions_of(step: Step) -> dict[str, str]:
    """The parts of a step's fingerprint by the names of modules, data files and libraries."""
    return fingerprint(step).parts


@cache
def library_version(step: str, library: str) -> str:
    """The installed version without the build's local part (2.13.0, not 2.13.0+cpu)."""
    try:
        return version(library).partition("+")[0]
    except PackageNotFoundError:
        raise HostError(f"{step}: {missing_part(library)}") from None


def _data_digest(step: str, path: str) -> str:
    try:
        return hashlib.sha256(source_code.read_bytes(ROOT / path)).hexdigest()[:16]
    except FileNotFoundError:
        raise ConfigError(f"{step} declares the data file {path}, which is not there") from None


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def normal(node: Any, resolve: Callable[[ast.AST], Any] = lambda node: None) -> Any:
    """A syntax tree as nested lists: empty fields, positions, docstrings, hints for tools and the project's own imports
    left out, and each node that `resolve` has something else for as that."""
    if isinstance(node, ast.AST):
        known = resolve(node)
        if known is not None:
            return known
        found: list[Any] = [type(node).__name__]
        for name in node._fields:
            if name not in ("ctx", "type_comment", "kind"):
                value = normal(getattr(node, name, None), resolve)
                if value is not None and value != []:
                    found.append([name, value])
        return found
    if isinstance(node, list):
        return [
            normal(item, resolve)
            for item in node
            if not source_code.is_docstring(item) and not source_code.imports_ours(item)
        ]
    return node if node is None or isinstance(node, (str, bool)) else [type(node).__name__, repr(node)]


@cache
def _ours(module: str) -> bool:
    """A module of the project that may shape what is made."""
    if not source_code.is_project(module) or source_code.file_of(module) is None:
        return False
    return not any(module == plumbing or module.startswith(f"{plumbing}.") for plumbing in PLUMBING)


@cache
def _named(text: str) -> bool:
    """A string that names a module of the project."""
    return text.startswith("tasks.") and text[-1] != "." and source_code.file_of(text) is not None


class _Definition:
    """What one name of a module means."""

    def __init__(self, module: str, name: str) -> None:
        self.trees = [source_code.undecorated(statement) for statement in source_code.definitions(module).get(name, [])]
        nodes = [node for tree in self.trees for node in ast.walk(tree)]
        outer, inner = source_code.imported(module), source_code.Bindings(module, nodes)
        self.modules = outer.modules | inner.modules
        own = {bound: (module, bound) for bound in source_code.definitions(module) if bound != name}
        names, foreign = own | outer.names | inner.names, outer.foreign | inner.foreign
        used = {node.id for node in nodes if isinstance(node, ast.Name)}
        self.names = {bound: at for bound, at in names.items() if bound in used - self.modules.keys()}
        """Names of the project that stand in it, with where they are from."""
        self.foreign = {bound: of for bound, of in foreign.items() if bound in used - self.names.keys()}
        """The same of libraries."""
        self.imports = [*inner.modules.values(), *(of for of, _ in inner.names.values())]
        before_dots = {id(node.value) for node in nodes if isinstance(node, ast.Attribute)}
        through = (self.target(node) for node in nodes if not (isinstance(node, ast.Name) and id(node) in before_dots))
        self.reached = {*self.names.values(), *filter(None, through)}

    def target(self, node: ast.AST) -> tuple[str, str] | None:
        """The (module, name) that a node names through a module; the name * is all of it."""
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in self.modules:
            return self.modules[node.value.id], node.attr
        if isinstance(node, ast.Name) and node.id in self.modules:
            return self.modules[node.id], EVERYTHING
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _named(node.value):
            return node.value, EVERYTHING
        return None

    def resolved(self, unused: frozenset[str], node: ast.AST) -> Any:
        """What stands behind a name from another module in place of the name of that module."""
        target = self.target(node)
        if target is None:
            return None
        return ["Of", target[1], _meaning(*target) if _ours(target[0]) and target[0] not in unused else None]

    def bare(self, node: ast.AST) -> Any:
        """The place of a name from another module."""
        target = self.target(node)
        return None if target is None else ["Of", target[1]]


_definition = cache(_Definition)


@cache
def _meaning(module: str, name: str) -> str:
    """The digest of a definition alone, wherever it was imported from."""
    module, name = _origin(module, name)
    found = [_definition(module, each) for each in (source_code.definitions(module) if name == EVERYTHING else [name])]
    return _digest([[normal(tree, definition.bare) for tree in definition.trees] for definition in found])


@cache
def _origin(module: str, name: str) -> tuple[str, str]:
    """Where a name that a module may have imported is defined; everything of a module if it is one itself."""
    if name in (EVERYTHING, source_code.ON_IMPORT) or not _ours(module):
        return module, name
    if name in source_code.definitions(module):
        return module, name
    if source_code.file_of(f"{module}.{name}") is not None:
        return f"{module}.{name}", EVERYTHING
    imported = source_code.imported(module)
    if name in imported.modules:
        return imported.modules[name], EVERYTHING
    return _origin(*imported.names[name]) if name in imported.names else (module, EVERYTHING)


@cache
def _definition_digest(module: str, name: str, unused: frozenset[str]) -> str:
    """Of what a name means: its syntax tree, and for each name that it has from elsewhere what stands behind it."""
    found = _definition(module, name)
    resolve = partial(found.resolved, unused)
    known = sorted([bound, _meaning(*at)] for bound, at in found.names.items() if _ours(at[0]) and at[0] not in unused)
    return _digest([[normal(tree, resolve) for tree in found.trees], known, sorted(found.foreign.items())])


class _Reach:
    """The closure of names and imports from one function, but through modules that are `unused`."""

    def __init__(self, unused: frozenset[str]) -> None:
        self.unused = unused
        self.seen: set[tuple[str, str]] = set()
        self.found: set[tuple[str, str]] = set()
        self.modules: set[str] = set()

    def by_module(self) -> dict[str, str]:
        """One digest for each module of which something is reached."""
        found: dict[str, list[str]] = {}
        for module, name in sorted(self.found):
            found.setdefault(module, []).append(_meaning(module, name))
        return {module: _digest(digests) for module, digests in found.items()}

    def name(self, module: str, name: str) -> None:
        module, name = _origin(module, name)
        self.module(module)
        if module in self.unused or not _ours(module) or (module, name) in self.seen:
            return
        self.seen.add((module, name))
        if name == EVERYTHING:
            for each in source_code.definitions(module):
                self.name(module, each)
        elif name in source_code.definitions(module):
            self.found.add((module, name))
            definition = _definition(module, name)
            for target in definition.reached:
                self.name(*target)
            for imported in definition.imports:
                self.module(imported)

    def module(self, module: str) -> None:
        """A module is imported, with the packages around it and all that it imports itself."""
        if module in self.modules or module in self.unused or not _ours(module):
            return
        self.modules.add(module)
        imported = source_code.imported(module)
        self.module(module.rpartition(".")[0])
        for other in (*imported.modules.values(), *(of for of, _ in imported.names.values())):
            self.module(other)
        self.name(module, source_code.ON_IMPORT)
