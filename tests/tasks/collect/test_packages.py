"""Docstrings and documentation of installed distributions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.collect.sources import python_packages as packages
from tasks.core.errors import DataError
from tests.tasks.collect.conftest import Fetched

SOURCE = b'''
"""Module."""
def public():
    """A function.

    Then:
        Indented.
    """
def _private():
    """Hidden."""
class Thing:
    """A class."""
    def method(self):
        """A method."""
    def _inner(self):
        """Hidden."""
if True:
    async def conditional():
        """Below an if."""
'''


def test_docstrings_are_those_of_the_module_and_its_public_names() -> None:
    assert list(packages.docstrings(SOURCE)) == [
        ("", "Module."),
        ("public", "A function.\n\nThen:\n    Indented."),
        ("Thing", "A class."),
        ("Thing.method", "A method."),
        ("conditional", "Below an if."),
    ]


def test_a_distribution_becomes_labelled_docstrings_and_unlabelled_documentation(tmp_path: Path) -> None:
    fetched = Fetched(tmp_path, kind="python_packages", distributions=["PyYAML", "networkx"])
    rows = fetched.rows
    shortest = next(row for row in rows if row["uri"] == "networkx/algorithms/dag.py#descendants")
    assert shortest["label"] == "networkx" and shortest["licence"] == "BSD-3-Clause" and shortest["messages"] is None
    assert {row["label"] for row in rows} == {"networkx", "pyyaml", None}
    assert {row["uri"] for row in rows if row["label"] is None} == {"networkx/README", "pyyaml/README"}
    assert len({row["text"] for row in rows}) == len({row["id"] for row in rows}) == len(rows)
    assert not [row for row in rows if "/tests/" in row["uri"]]
    assert min(len(row["text"]) for row in rows if row["label"]) >= 80


def test_a_distribution_fetched_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    runs = [Fetched(tmp_path / name, kind="python_packages", distributions=["networkx"]) for name in "ab"]
    one, two = ((run.works[0] / "docs.parquet").read_bytes() for run in runs)
    assert one == two


def test_an_unknown_distribution_is_refused_with_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="pip install no-such-thing"):
        Fetched(tmp_path, kind="python_packages", distributions=["no-such-thing"])


def test_a_distribution_upgraded_since_the_listing_is_refused() -> None:
    entry = packages.listed(["PyYAML"])[0] | {"stamp": "0.1+0"}
    with pytest.raises(DataError, match="has changed since it was listed"):
        packages.collect(entry, 80, None)  # type: ignore[arg-type]
