"""Real docstrings as documents tables."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy
import polars as pl
import pytest

Write = Callable[[Path, list[str]], Path]


@pytest.fixture(scope="session")
def docstrings() -> list[str]:
    """Some 500 different docstrings of numpy."""
    found: dict[str, None] = {}
    for path in sorted(Path(numpy.__file__).parent.glob("*/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and (text := ast.get_docstring(node)):
                found[text] = None
    return list(found)[:500]


@pytest.fixture(scope="session")
def write() -> Write:
    """Write texts as a documents table."""

    def table(path: Path, texts: list[str], source: str = "docs") -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        ids = [hashlib.sha256(text.encode()).hexdigest()[:32] for text in texts]
        frame = pl.DataFrame({"id": ids, "text": texts}, schema={"id": pl.String, "text": pl.String})
        frame.with_columns(pl.lit(source).alias("source")).write_parquet(path)
        return path

    return table
