"""Kinds are found by their place, or by an entry point."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.core import plugins
from tasks.core.errors import ConfigError, HostError

GROUP = "fromzero.toys"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package `toys` with two kinds, and a distribution beside it that declares more."""
    for path, text in (
        ("toys/__init__.py", ""),
        ("toys/ball.py", "SHAPE = 'round'"),
        ("toys/cube/__init__.py", "SHAPE = 'square'"),
        ("toys/pictures/cube.png", ""),
        ("elsewhere.py", "SHAPE = 'long'"),
        ("more-1.0.dist-info/METADATA", "Name: more\nVersion: 1.0\n"),
        ("more-1.0.dist-info/entry_points.txt", f"[{GROUP}]\nrope = elsewhere\n"),
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins.names.cache_clear()
    yield "toys"
    plugins.names.cache_clear()
    for name in ("toys", "toys.ball", "toys.cube", "elsewhere"):
        sys.modules.pop(name, None)


def test_modules_folders_and_entry_points_are_kinds_and_none_is_imported_before_it_is_needed(package: str) -> None:
    assert plugins.names(package, GROUP) == {"ball": "toys.ball", "cube": "toys.cube", "rope": "elsewhere"}
    assert "toys.ball" not in sys.modules and "elsewhere" not in sys.modules
    assert plugins.module(package, GROUP, "rope").SHAPE == "long"


def test_an_unknown_kind_is_refused_with_the_nearest_name(package: str) -> None:
    with pytest.raises(ConfigError, match="no kind 'bal'; did you mean ball"):
        plugins.module(package, GROUP, "bal")


def test_two_kinds_of_one_name_are_refused(package: str, tmp_path: Path) -> None:
    (tmp_path / "more-1.0.dist-info/entry_points.txt").write_text(f"[{GROUP}]\nball = elsewhere\n")
    with pytest.raises(HostError, match=r"elsewhere and toys.ball are both called ball"):
        plugins.names(package, GROUP)
