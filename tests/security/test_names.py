"""Names and numbers from data neither act in a terminal nor lead out of the folders that were named."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from click.testing import CliRunner

from conf.schema.data import CollectConf
from flows.cli.main import main
from tasks.collect.steps import left_out, observe_sources
from tasks.core.errors import DataError, FromzeroError, printable
from tasks.views.terminal.live import _Console
from tests.tasks.collect.conftest import Fetched

EVIL = "a\x1b[2J\x1b]0;owned\x07\x9b31m\u202etxt.exe\u2066\r"


def acting(text: str) -> list[str]:
    """The characters of a text that a terminal would not show but do."""
    return [char for char in text if char not in "\n\t" and (ord(char) < 32 or 127 <= ord(char) < 160)] + [
        char for char in text if char in "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    ]


def test_foreign_text_is_shown_and_does_nothing() -> None:
    assert len(acting(EVIL)) == 7
    for said in (printable(EVIL), str(FromzeroError(EVIL)), str(DataError(EVIL))):
        assert acting(said) == [] and r"\x1b[2J" in said and r"\u202etxt.exe" in said
    assert printable("größe 中文 👍\tשלום\n") == "größe 中文 👍\tשלום\n"
    file = io.StringIO()
    _Console(file=file, force_terminal=True, highlight=False).print("[bold]x[/bold]", EVIL)
    assert acting(file.getvalue().replace("\x1b[1m", "").replace("\x1b[0m", "")) == []


@pytest.mark.parametrize("ending", [".txt", ".json", ".pdf"])
@pytest.mark.parametrize("command", ["plan", "init"])
def test_no_command_lets_the_name_of_a_file_act(command: str, ending: str, home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / f"{EVIL}{ending}").write_text("{" if ending == ".json" else "some words")
    (folder / "b.txt").write_text("other words")
    given = ["text", f"data.sources.mine.paths=[{folder}]"] if command == "plan" else [str(folder)]
    with CliRunner().isolated_filesystem(tmp_path):
        found = CliRunner().invoke(main, [command, *given])
    assert acting(found.output) == [], found.output


def test_links_out_of_a_folder_are_followed_only_where_told_to(tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/key.txt").write_text("secret words")
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "a.txt").write_text("some words")
    (notes / "b.txt").symlink_to("a.txt")
    (notes / "c.txt").symlink_to(tmp_path / "secret/key.txt")
    (notes / "d").symlink_to(tmp_path / "secret")

    def names(**more: object) -> list[str]:
        source = {"kind": "files", "paths": [str(notes)], **more}
        conf = CollectConf.model_validate({"sources": {"own": source}})
        (shard,) = observe_sources(conf)
        said.extend(left_out(shard, conf.sources["own"]))
        return [entry["name"] for entry in shard["entries"]]

    said: list[dict[str, str]] = []
    assert names() == ["a.txt", "b.txt"]
    assert [one["option"] for one in said] == ["data.sources.own.follow_links"] and "2 links" in said[0]["text"]
    assert names(follow_links=True) == ["a.txt", "b.txt", "c.txt", "d/key.txt"]
    assert names(paths=[str(notes / "c.txt")]) == ["c.txt"]
    assert names(paths=[f"{notes}/*.txt"]) == ["a.txt", "b.txt"]
    with pytest.raises(DataError, match="2 links out of it: follow_links=true"):
        names(paths=[f"{notes}/c*.txt"])


def test_a_number_of_thousands_of_digits_is_one_clear_error(tmp_path: Path) -> None:
    long = "1" * 5_000
    for name, text in {"a.jsonl": f'{{"text": "a", "n": {long}}}', "a.json": f'[{{"text": "a", "n": {long}}}]'}.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match=r"is no JSON.*digits"):
            Fetched(tmp_path / name.replace(".", "-"), kind="files", paths=[str(tmp_path / name)])
