"""The project's modules as their files have them: where each lies, what it defines, what it imports.

What was read is remembered, with what each file was like then, until `forget`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from tasks.core import plugins
from tasks.core.errors import ConfigError
from tasks.core.interpreter import ROOT
from tasks.core.small_files import Stamp, stamp

ON_IMPORT = "(on import)"
"""Stands for what a module does when it is imported, beside binding names."""

IMPORTS = (ast.Import, ast.ImportFrom)


_read: dict[Path, Stamp] = {}
"""The files that were read, as they were then."""


def edited() -> bool:
    """A file that was read is not what it was."""
    return any(stamp(path) != was for path, was in _read.items())


def forget() -> None:
    """Read anew from now on."""
    _read.clear()
    for known in (file_of, tree, definitions, imported):
        known.cache_clear()


def read_bytes(path: Path) -> bytes:
    """A file's bytes, remembered as one that was read."""
    _read.setdefault(path, stamp(path))
    return path.read_bytes()


OURS = ("tasks", "flows", "conf")


def is_project(module: str | None) -> bool:
    """Of this project or of one that adds kinds to it."""
    root = (module or "").split(".")[0]
    return root in OURS or root in plugins.roots()


def imports_ours(node: Any) -> bool:
    """A statement that imports nothing but the project's own modules."""
    if isinstance(node, ast.Import):
        return all(is_project(alias.name) for alias in node.names)
    return isinstance(node, ast.ImportFrom) and (node.level > 0 or is_project(node.module))


def is_docstring(node: Any) -> bool:
    """A statement that is a text alone."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@cache
def file_of(module: str) -> Path | None:
    """The file of a module of the project; None if there is none."""
    folder = ROOT if module.split(".")[0] in OURS else plugins.roots()[module.split(".")[0]]
    path = folder / module.replace(".", "/")
    if path.with_suffix(".py").is_file():
        return path.with_suffix(".py")
    return path / "__init__.py" if (path / "__init__.py").is_file() else None


@cache
def tree(module: str) -> ast.Module:
    """Its syntax tree."""
    path = file_of(module)
    assert path is not None
    return ast.parse(read_bytes(path), filename=str(path))


@cache
def definitions(module: str) -> dict[str, list[ast.stmt]]:
    """The statements that bind each name of a module, but imports, and under `ON_IMPORT` those that do more."""
    found: dict[str, list[ast.stmt]] = {}
    for statement in tree(module).body:
        if isinstance(statement, IMPORTS) or is_docstring(statement) or _for_types_only(statement):
            continue
        bound = list(dict.fromkeys(_bound(statement)))
        for name in bound if bound and not _acts(module, statement) else [*bound, ON_IMPORT]:
            found.setdefault(name, []).append(statement)
    return found


def _acts(module: str, statement: ast.stmt) -> bool:
    """It may do more than bind names: a block, or a definition that a decorator of the project's own may register."""
    decorators = getattr(undecorated(statement), "decorator_list", [])
    roots = {re.split(r"[.(]", ast.unparse(decorator))[0] for decorator in decorators}
    blocks = (ast.If, ast.For, ast.While, ast.With, ast.Try)
    return isinstance(statement, blocks) or bool(roots - imported(module).foreign.keys())


def _for_types_only(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.If) and ast.unparse(statement.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def _bound(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield statement.name
    else:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id


class Bindings:
    """What the imports among some statements of a module bind."""

    def __init__(self, module: str, statements: Iterable[ast.AST]) -> None:
        self.modules: dict[str, str] = {}
        self.names: dict[str, tuple[str, str]] = {}
        self.foreign: dict[str, str] = {}
        for node in statements:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self._module(alias)
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    self._name(alias.asname or alias.name, _absolute(module, node), alias.name)

    def _module(self, alias: ast.alias) -> None:
        bound = alias.asname or alias.name.split(".")[0]
        if not is_project(alias.name):
            self.foreign[bound] = alias.name if alias.asname else bound
        elif alias.asname:
            self.modules[bound] = alias.name
        else:
            raise ConfigError(f"`import {alias.name}`: write `from … import …`, or its code cannot be told apart")

    def _name(self, bound: str, source: str, name: str) -> None:
        if not is_project(source):
            self.foreign[bound] = f"{source}.{name}"
        elif file_of(f"{source}.{name}") is not None:
            self.modules[bound] = f"{source}.{name}"
        else:
            self.names[bound] = (source, name)


@cache
def imported(module: str) -> Bindings:
    """What a module imports when it is imported itself."""
    return Bindings(module, (statement for statement in tree(module).body if isinstance(statement, IMPORTS)))


def undecorated(statement: ast.stmt) -> ast.stmt:
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
    path = file_of(module)
    is_package = path is not None and path.name == "__init__.py"
    parents = module.split(".")[: None if is_package and node.level == 1 else -(node.level - int(is_package))]
    return ".".join([*parents, *([node.module] if node.module else [])])
