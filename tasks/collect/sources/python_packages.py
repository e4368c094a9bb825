"""Docstrings and documentation files of installed Python distributions."""

from __future__ import annotations

import ast
import gc
import hashlib
import inspect
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, Literal

from pydantic import Field

from conf.schema.source import Source
from tasks.collect.distributions import canonical, find, licence_of
from tasks.collect.document_writer import Documents
from tasks.core.errors import DataError

PROSE = (".md", ".rst", ".txt")
Documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_SKIPPED_FOLDERS = {"tests", "test", "testing", "conftest", "_vendor", "vendor", "vendored", "licenses", "__pycache__"}
_NO_PROSE = re.compile(r"(licen[cs]e|copying|notice|authors|requirements|cmakelists|top_level|vendor)", re.IGNORECASE)


class PackagesSource(Source):
    """Docstrings and documentation of installed Python distributions."""

    kind: Literal["python_packages"]
    """Always python_packages."""
    where: ClassVar[frozenset[str]] = frozenset({"distributions"})
    distributions: tuple[str, ...] = Field(min_length=1)
    """Names of installed distributions, as pip shows them; each is the label of its docstrings."""
    min_chars: int = Field(80, ge=1)
    """Shortest docstring that becomes a document, in characters."""


OPTIONS, PLACE, LIBRARIES = PackagesSource, "distributions", ("pyarrow",)


def entries(source: str, conf: PackagesSource, known: Iterable[str] = ()) -> list[dict[str, Any]]:
    """One entry for each distribution; raises `DataError` for one that is not installed."""
    return listed(conf.distributions)


def read(held: Sequence[dict[str, Any]], conf: PackagesSource, documents: Documents, scratch: Path) -> None:
    """Add the documents of some distributions."""
    for entry in held:
        collect(entry, conf.min_chars, documents)


def listed(distributions: Iterable[str]) -> list[dict[str, Any]]:
    """One entry for each distribution: its Python and documentation files' bytes, stamped by version and hashes.

    Raises `DataError` for one that is not installed.
    """
    found = {}
    for name in distributions:
        installed = find(name)
        files = _files(installed)
        files_of = "\n".join([installed.version, *(f"{path},{digest}" for path, digest, _ in files)])
        label = canonical(name)
        found[label] = {
            "uri": label,
            "name": label,
            "size": sum(size for _, _, size in files),
            "stamp": f"{installed.version}+{hashlib.sha256(files_of.encode()).hexdigest()[:16]}",
        }
    return [found[label] for label in sorted(found)]


def collect(entry: dict[str, Any], min_chars: int, documents: Documents) -> None:
    """Add the docstrings (labelled with the distribution) and the documentation files of one distribution.

    Only files are parsed, nothing is imported. Raises `DataError` if the distribution is no longer the one listed.
    """
    installed = find(entry["uri"])
    if listed([entry["uri"]])[0]["stamp"] != entry["stamp"]:
        raise DataError(f"distribution {entry['uri']} has changed since it was listed: run again")
    licence = licence_of(installed)
    for path, _, _ in _files(installed):
        file = Path(str(installed.locate_file(path)))
        if path.endswith(".py"):
            for uri, text in _docstrings(file, path, documents):
                if len(text) >= min_chars:
                    documents.add(text, uri, licence, label=entry["name"])
        else:
            prose = _decode(file, path, documents)
            if prose is not None:
                documents.add(prose, path, licence)
    described = installed.metadata.json.get("description")
    if isinstance(described, str) and described.strip():
        documents.add(described, f"{entry['name']}/README", licence)


def docstrings(source: bytes, name: str = "<source>") -> Iterator[tuple[str, str]]:
    """(qualified name, docstring) of a module (name ""), its public classes, their methods, and its public functions.

    Docstrings are dedented as `inspect.cleandoc` does. Raises `SyntaxError` or `ValueError` for what does not parse.
    """
    with warnings.catch_warnings(), _without_cycle_collection():
        warnings.simplefilter("ignore")
        tree = ast.parse(source, filename=name)
    yield from _of_node(tree, "")


def _of_node(node: Documented, name: str) -> Iterator[tuple[str, str]]:
    text = ast.get_docstring(node, clean=False)
    if text:
        yield name, inspect.cleandoc(text)
    if isinstance(node, (ast.Module, ast.ClassDef)):
        for child in _definitions(node.body):
            yield from _of_node(child, f"{name}.{child.name}".lstrip("."))


@contextmanager
def _without_cycle_collection() -> Iterator[None]:
    """A syntax tree holds no cycles, and looking for them doubles the time that it takes to build one."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _definitions(body: list[ast.stmt]) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            if not node.name.startswith("_"):
                yield node
        elif isinstance(node, (ast.If, ast.Try)):
            yield from _definitions(node.body + node.orelse)


def _docstrings(file: Path, path: str, documents: Documents) -> Iterator[tuple[str, str]]:
    try:
        source = file.read_bytes()
        if b'"""' in source or b"'''" in source:
            for name, text in docstrings(source, path):
                yield f"{path}#{name}" if name else path, text
    except (OSError, SyntaxError, ValueError, RecursionError) as error:
        documents.set_aside(path, "file", f"cannot be parsed: {error}")


def _decode(file: Path, path: str, documents: Documents) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        documents.set_aside(path, "file", f"cannot be read: {error}")
        return None


def _files(installed: metadata.Distribution) -> list[tuple[str, str, int]]:
    """(path, hash, size) of the files to read, by path, from RECORD: parsing its lines here is 8 times `.files`."""
    record = installed.read_text("RECORD")
    if record is None:
        raise DataError(f"distribution {installed.name} has no RECORD of its files: reinstall it with pip")
    files = []
    for line in record.splitlines():
        if line.endswith(","):
            continue
        path, digest, size = line.rsplit(",", 2)
        path = path.strip('"')
        if path.endswith(".py") or path.endswith(PROSE):
            files.append((path, digest, int(size)))
    return sorted(found for found in files if _wanted(PurePosixPath(found[0])))


def _wanted(path: PurePosixPath) -> bool:
    if ".." in path.parts or path.is_absolute():  # scripts and data that were installed elsewhere
        return False
    folders = path.parts[:-1]
    if any(part in _SKIPPED_FOLDERS or part.startswith(".") or part.endswith(".dist-info") for part in folders):
        return False
    if path.suffix == ".py":
        return not path.name.startswith("test_") and not path.name.endswith("_test.py") and path.name != "conftest.py"
    return not _NO_PROSE.search(path.name)
