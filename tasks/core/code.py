"""What code a step reaches, in a form that comments, docstrings and layout do not change."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tasks.core.errors import ConfigError, HostError, missing_part
from tasks.core.step import Step

ROOT = Path(__file__).parents[2]
"""The folder that holds flows/, tasks/ and conf/."""

PLUMBING = ("tasks.core",)
"""Packages that move artifacts and never shape them."""


@cache
def code_of(step: Step) -> dict[str, str]:
    """What the step's output depends on besides inputs and options: {module, data file or library: digest or version}.

    The step's own module and the config models count name by name, every other project module as a whole, through
    lazy imports and through strings that name a module (`python -m`).
    """
    reach = _Reach()
    reach.name(step.function.__module__, step.function.__name__)
    parts = reach.digests()
    parts |= {path: _data_digest(step.name, path) for path in step.data}
    parts |= {library: library_version(step.name, library) for library in step.libraries}
    return dict(sorted(parts.items()))


@cache
def library_version(step: str, library: str) -> str:
    """The installed version without the build's local part (2.13.0, not 2.13.0+cpu)."""
    try:
        return version(library).partition("+")[0]
    except PackageNotFoundError:
        raise HostError(f"{step}: {missing_part(library)}") from None


def _data_digest(step: str, path: str) -> str:
    try:
        return hashlib.sha256((ROOT / path).read_bytes()).hexdigest()[:16]
    except FileNotFoundError:
        raise ConfigError(f"{step} declares the data file {path}, which is not there") from None


def _digest(trees: list[Any]) -> str:
    return hashlib.sha256(json.dumps(trees).encode()).hexdigest()[:16]


def normal(node: Any) -> Any:
    """A syntax tree as nested lists: empty fields, positions, docstrings and decorating hints for tools left out."""
    if isinstance(node, ast.AST):
        found: list[Any] = [type(node).__name__]
        for name in node._fields:
            if name not in ("ctx", "type_comment", "kind"):
                value = normal(getattr(node, name, None))
                if value is not None and value != []:
                    found.append([name, value])
        return found
    if isinstance(node, list):
        return [normal(item) for item in node if not _is_docstring(item)]
    return node if node is None or isinstance(node, (str, bool)) else [type(node).__name__, repr(node)]


def _is_docstring(node: Any) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@cache
def _source(module: str) -> Path | None:
    path = ROOT / module.replace(".", "/")
    if path.with_suffix(".py").is_file():
        return path.with_suffix(".py")
    return path / "__init__.py" if (path / "__init__.py").is_file() else None


@cache
def _ours(module: str) -> bool:
    if module.split(".")[0] not in ("tasks", "flows", "conf") or _source(module) is None:
        return False
    return not any(module == plumbing or module.startswith(f"{plumbing}.") for plumbing in PLUMBING)


@cache
def _tree(module: str) -> ast.Module:
    path = _source(module)
    assert path is not None
    return ast.parse(path.read_bytes(), filename=str(path))


@cache
def _module_digest(module: str) -> str:
    return _digest([normal(_tree(module))])


@cache
def _normal_name(module: str, name: str) -> list[Any]:
    return [normal(_undecorated(statement)) for statement in _definitions(module).get(name, [])]


@cache
def _definitions(module: str) -> dict[str, list[ast.stmt]]:
    found: dict[str, list[ast.stmt]] = {}
    for statement in _tree(module).body:
        for name in _bound(statement):
            found.setdefault(name, []).append(statement)
    return found


def _bound(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield statement.name
    elif isinstance(statement, (ast.Import, ast.ImportFrom)):
        for alias in statement.names:
            yield (alias.asname or alias.name).split(".")[0]
    else:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id


class _Reach:
    """The closure of imports from one function."""

    def __init__(self) -> None:
        self.whole: set[str] = set()
        self.names: set[tuple[str, str]] = set()

    def digests(self) -> dict[str, str]:
        found = {module: _module_digest(module) for module in self.whole}
        named: dict[str, list[Any]] = {}
        for module, name in sorted(self.names):
            if module not in self.whole:
                named.setdefault(module, []).append([name, _normal_name(module, name)])
        return found | {module: _digest(trees) for module, trees in named.items()}

    def module(self, module: str) -> None:
        if module not in self.whole and _ours(module):
            self.whole.add(module)
            for reference in _module_references(module):
                self._import(*reference)

    def name(self, module: str, name: str) -> None:
        if (module, name) in self.names or name not in _definitions(module):
            return
        if not all(isinstance(s, (ast.Import, ast.ImportFrom)) for s in _definitions(module)[name]):
            self.names.add((module, name))
        references, names = _name_references(module, name)
        for reference in references:
            self._import(*reference)
        for used in names:
            self.name(module, used)

    def _import(self, module: str, name: str | None) -> None:
        if name is not None and _ours(f"{module}.{name}"):
            self.module(f"{module}.{name}")
        elif _ours(module):
            if name is not None and module.startswith("conf."):
                self.name(module, name)
            else:
                self.module(module)


@cache
def _module_references(module: str) -> list[tuple[str, str | None]]:
    return list(dict.fromkeys(_references(module, _tree(module))))


@cache
def _name_references(module: str, name: str) -> tuple[list[tuple[str, str | None]], list[str]]:
    """What the statements that bind a name import, and the names that they use."""
    bare = [_undecorated(statement) for statement in _definitions(module)[name]]
    references = [found for statement in bare for found in _references(module, statement, only=name)]
    names = [node.id for statement in bare for node in ast.walk(statement) if isinstance(node, ast.Name)]
    return list(dict.fromkeys(references)), list(dict.fromkeys(names))


def _references(module: str, tree: ast.AST, only: str | None = None) -> Iterator[tuple[str, str | None]]:
    """The modules, and names in them, that a syntax tree imports; of an import statement itself `only` one name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, None
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if node is not tree or only is None or (alias.asname or alias.name) == only:
                    yield _absolute(module, node), alias.name
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("tasks."):
            yield node.value, None


def _undecorated(statement: ast.stmt) -> ast.stmt:
    """A step's declaration says how it is run; what of it shapes the output is counted elsewhere."""
    if isinstance(statement, ast.FunctionDef) and statement.decorator_list:
        kept = [d for d in statement.decorator_list if not _declares_step(d)]
        fields = {name: getattr(statement, name) for name in statement._fields}
        return ast.FunctionDef(**{**fields, "decorator_list": kept})
    return statement


def _declares_step(decorator: ast.expr) -> bool:
    target = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(target, ast.Name) and target.id in ("step", "effect")


def _absolute(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    source = _source(module)
    is_package = source is not None and source.name == "__init__.py"
    parents = module.split(".")[: None if is_package and node.level == 1 else -(node.level - int(is_package))]
    return ".".join([*parents, *([node.module] if node.module else [])])
