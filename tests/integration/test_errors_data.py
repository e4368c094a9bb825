"""Bad data through the command: one message with file, place and fix, exit code 3, and what was made stays whole."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.pipeline_process import ROOT, House, Result, write_texts

GOOD = b'{"text": "A row that can be read."}\n'
ROWS: dict[str, tuple[str, bytes, str]] = {
    "gzip": ("a.jsonl.gz", gzip.compress(GOOD * 9000)[:-40], "gzip data are cut off or damaged"),
    "utf8": ("a.txt", b"caf\xe9", "is not valid utf-8 (byte 0xe9 at 3): set `encoding` of the source"),
    "utf8-line": ("a.jsonl", GOOD + b'{"text": "\xff"}\n', "a.jsonl, line 2: is not valid utf-8"),
    "utf16": ("a.txt", "text".encode("utf-16"), "starts like utf-16, not utf-8: set `encoding: utf-16`"),
    "latin1": (
        "a.csv",
        "text\ncafé, au lait\n".encode("latin-1"),
        "is not valid utf-8 (byte 0xe9 at 8): set `encoding` of the source (auto finds it for each file)",
    ),
    "nul": ("a.jsonl", GOOD + b'{"text": "a\0b"}\n', "a.jsonl, line 2: holds NUL bytes"),
    "long": (
        "a.jsonl",
        GOOD + b'{"text": "' + b"a b " * 25_000_000 + b'"}\n',
        "line 2: holds a text of more than 64 MB",
    ),
    "field": ("a.jsonl", GOOD + b'{"body": "b"}\n', "a.jsonl, line 2: has no field 'text'; there are 'body'"),
    "blank": ("a.jsonl", b'{"text": " "}\n', "no document in it, 1 empty and 0 unreadable rows"),
}
"""One source for each: its file, what is in it, and what is said of it."""


def house(folder: Path, url: str, sources: dict[str, dict[str, object]]) -> House:
    """A home for a recipe with these `files` sources only."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe = folder / "mine.yaml"
    first, *others = ({"kind": "files", **options} for options in sources.values())
    given = {"mine": first, **dict(zip([*sources][1:], others, strict=True))}  # the recipe `text` has a source `mine`
    recipe.write_text(f"extends: text\ndata: {{sources: {json.dumps(given)}}}\n")
    return House(folder, folder / "home", ROOT, recipe, folder, url)


def refused(found: Result, *words: str, code: int = 3) -> None:
    """One message with all the words, no traceback, the right exit code."""
    assert found.code == code, found.err
    assert "Traceback" not in found.err + found.out
    assert found.err.count("error: ") == 1
    for word in words:
        assert word in found.err, f"{word!r} is not said: {found.err}"


@pytest.fixture(scope="module")
def refusal(tmp_path_factory: pytest.TempPathFactory, prefect_url: str) -> Result:
    """One run over a source for each broken file; they are all read, and all named."""
    folder = tmp_path_factory.mktemp("broken")
    sources: dict[str, dict[str, object]] = {}
    for name, (file, content, _) in ROWS.items():
        (folder / name).mkdir()
        (folder / name / file).write_bytes(content)
        sources[name] = {"paths": [str(folder / name)]}
    (folder / "list").mkdir()
    pq.write_table(pa.table({"text": [[1, 2]]}), folder / "list" / "a.parquet")
    sources["list"] = {"paths": [str(folder / "list" / "a.parquet")]}
    found = house(folder, prefect_url, sources).begin("--until", "fetch_shard").wait(None)
    refused(found, f"{len(sources)} steps failed")
    return found


@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_broken_file_is_named_with_its_source_and_the_fix(refusal: Result, name: str) -> None:
    file, _, message = ROWS[name]
    source = "mine" if name == next(iter(ROWS)) else name
    said = [line for line in refusal.err.splitlines() if line.startswith(f"  fetch_shard[{source}-000]: ")]
    (line,) = [line for line in said if not re.search(r": file \d+/\d+", line)]  # on a slow machine also how far it is
    assert f"/{name}/{file}" in line and message in line and f"data.sources.{source}" in line


def test_a_list_where_text_should_be_is_named_with_its_row(refusal: Result) -> None:
    assert "a.parquet, row 1: its field 'text' holds a list where text should be" in refusal.err


def test_bad_rows_are_set_aside_up_to_the_limit_and_named_one_by_one(tmp_path: Path, prefect_url: str) -> None:
    (tmp_path / "texts").mkdir()
    write_texts(tmp_path / "texts" / "a.jsonl", seed=1)
    bad = [b'{"body": "b"}', b'{"text": [1]}', b"no json", b'{"text": "\xff"}', b'"' + b"x" * 1_100_000 + b'"', b"\0"]
    (tmp_path / "texts" / "b.jsonl").write_bytes(b"\n".join([*bad, GOOD]))
    options = {"paths": [str(tmp_path / "texts")], "max_bad_rows": 6, "max_document_mb": 1}
    mine = house(tmp_path, prefect_url, {"mine": options})
    mine.run("--until", "fetch_shard")
    (made,) = mine.manifests("fetch_shard")
    notes = [json.loads(line) for line in (mine.files("fetch_shard")[-1]).read_text().splitlines()]
    assert [note["position"] for note in notes] == [f"line {n}" for n in range(1, 7)]
    assert {note["file"] for note in notes} == {str(tmp_path / "texts" / "b.jsonl")}
    assert (made["stats"]["unreadable"], made["stats"]["rows"]) == (6, 41)

    (tmp_path / "texts" / "a.jsonl").unlink()
    (tmp_path / "texts" / "b.jsonl").rename(tmp_path / "c.jsonl")
    (tmp_path / "texts" / "new.jsonl").write_bytes(GOOD)
    lost = mine.start("run", str(mine.recipe), "data.max_entry_loss=0.4", "--until", "fetch_shard").wait(None)
    refused(lost, "'mine' lists 1 entries where it had 2", "a.jsonl", "b.jsonl", "run once with data.max_entry_loss=1")
    mine.whole()
    assert len(mine.manifests("fetch_shard")) == 1, "what was made stays"


def test_a_place_without_text_is_refused_before_anything_runs(tmp_path: Path, prefect_url: str) -> None:
    (tmp_path / "dir.jsonl").mkdir()
    (tmp_path / "none").mkdir()
    (tmp_path / "empty.txt").touch()
    (tmp_path / "loop").mkdir()
    (tmp_path / "loop" / "back").symlink_to(tmp_path / "loop")
    (tmp_path / "round.txt").symlink_to(tmp_path / "round.txt")
    cases = {
        "missing.jsonl": "there is no such file or folder",
        "none": "the folder holds no files ending in",
        "empty.txt": "nothing but empty files",
        "dir.jsonl": "named like a file",
        "loop": "leads back to a folder above it: remove it",
        "round.txt": "leads round to itself: remove it",
    }
    begun = {
        name: house(tmp_path / "homes" / name, prefect_url, {"mine": {"paths": [str(tmp_path / name)]}})
        for name in cases
    }
    for name, mine in begun.items():
        found = mine.start("run", str(mine.recipe)).wait(None)
        refused(found, str(tmp_path / name), cases[name], "data.sources.mine.paths")
        assert not (mine.home / "store").exists()


def test_data_that_collapse_stop_the_run_and_what_is_said_to_let_them_pass_does(
    tmp_path: Path, prefect_url: str
) -> None:
    texts = tmp_path / "texts.jsonl"
    write_texts(texts, seed=3)
    with texts.open("a") as file:
        file.writelines(json.dumps({"text": f"short {n}"}) + "\n" for n in range(360))
    home = house(tmp_path / "collapse", prefect_url, {"mine": {"paths": [str(texts)]}})
    refused(
        home.begin("--until", "freeze_evalset").wait(None),
        "clean drops 90.0 % of source mine (360 of 400 documents): min_words 90.0 %",
        "data.clean.rules.min_words", allowed := "data.losses.allow.mine.min_words=0.9",
    )  # fmt: skip
    assert not home.manifests("freeze_evalset")
    warned = home.begin("--until", "freeze_evalset", "data.losses.fail=1").wait().json
    (found,) = [one for one in warned["warnings"] if one["step"] == "check_losses"]
    assert found["text"].startswith("clean drops 90.0 %") and "min_words" in found["option"]
    assert "clean drops 90.0 % of source mine" in Path(warned["urls"]["report"]).read_text()
    passed = home.begin("--until", "freeze_evalset", allowed).wait().json
    assert not [one for one in passed["warnings"] if one["step"] == "check_losses"]
