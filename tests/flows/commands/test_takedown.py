"""The command on a store that was written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from flows.cli.main import main
from tests.tasks.core.held import A, C, chain


@pytest.fixture
def store(home: Path) -> None:
    chain(home)


def say(*words: str) -> Result:
    return CliRunner().invoke(main, ["takedown", *words])


def listed() -> list[str]:
    """Ids of what is taken down."""
    found: dict[str, Any] = json.loads(say("--json").stdout)
    return [one["id"] for one in found["documents"]]


@pytest.mark.usefixtures("store")
def test_nothing_is_taken_down_until_somebody_says_yes_and_it_comes_back() -> None:
    looked = say("s/a")
    assert looked.exit_code == 0 and "nothing is changed: --yes" in looked.stdout and listed() == []
    assert f"1 document dropped for being like it, which may come back:\n  {C}" in looked.stdout
    assert "pinned tokenizer was trained on it" in say("s/a", "--yes").stdout and listed() == [A]
    assert json.loads(say("s/a", "--json").stdout)["documents"][0]["taken_down"]
    assert A in say().stdout
    assert "no longer taken down" in say(A[:8], "--undo").stdout and listed() == []
    assert "nothing is taken down" in say().stdout


@pytest.mark.usefixtures("store")
def test_what_is_like_it_goes_along_if_that_is_wanted() -> None:
    found = json.loads(say(A[:8], "--yes", "--duplicates", "--json").stdout)
    assert [one["id"] for one in found["documents"]] == listed() == [A, C]
    assert found["duplicates"] == []


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("f" * 8,), "no document 'ffffffff' in this store"),
        (("f" * 8, "--undo"), "'ffffffff' is not taken down"),
        (("--yes",), "need a document: `fromzero takedown DOC`"),
        ((A, "--undo", "--yes"), "--undo goes without"),
    ],
)
def test_what_cannot_be_meant_is_refused_and_says_what_can(words: tuple[str, ...], message: str) -> None:
    ran = say(*words)
    assert ran.exit_code == 2 and message in ran.stderr
