"""The recipe that `fromzero init` writes: it composes, plans, and fits what was found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from conf.compose import compose
from conf.schema.recipe import Recipe
from flows.cli.init_recipe import quoted, recipe_name
from flows.cli.main import main
from tasks.collect.sources.files import FilesSource
from tests.tasks.collect.test_survey import LONG, jsonl


def init(*words: Any, code: int = 0) -> Result:
    """`fromzero init WORDS…`."""
    ran = CliRunner().invoke(main, ["init", *map(str, words)])
    assert ran.exit_code == code, ran.output
    return ran


@pytest.fixture
def texts(home: Path, tmp_path: Path) -> Path:
    """A folder of plain text, JSON lines with labels, conversations and one file in another encoding."""
    folder = tmp_path / "my texts"
    folder.mkdir()
    for n in range(120):
        (folder / f"{n}.TXT").write_text(f"{LONG} {n}")
    jsonl(folder / "a.jsonl", 200, lambda n: {"body": f"{LONG} {n}", "label": "land" if n % 2 else "sea"})
    turns = [{"role": "user", "content": 'Say "yes"'}, {"role": "assistant", "content": "Well."}]
    jsonl(folder / "chat.jsonl", 50, lambda n: {"messages": turns})
    (folder / "old.md").write_bytes("Où est le café?".encode("cp1252"))
    return folder


def test_a_recipe_of_all_kinds_composes_and_plans(texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "all.yaml"
    said = init(texts, "-o", out).output
    assert f"fromzero plan {out}\n  fromzero run {out}" in said
    recipe = compose(str(out))
    sources = [source for source in recipe.data.sources.values() if isinstance(source, FilesSource)]
    found = {(source.text, source.label, source.messages, source.encoding) for source in sources}
    assert found == {
        ("text", None, None, "auto"), ("body", "label", None, "utf-8"), ("text", None, "messages", "utf-8"),
    }  # fmt: skip
    assert {name: model.kind for name, model in recipe.models.items()} == {
        "base": "causal_lm", "chat": "chat", "classifier": "text_classification",
    }  # fmt: skip
    assert recipe.models["classifier"].register.name == "all-classifier"
    assert recipe.models["chat"].evaluate.prompts == ('Say "yes"',)
    planned = CliRunner().invoke(main, ["plan", str(out), "--json"])
    assert planned.exit_code == 0, planned.output
    rows = json.loads(planned.stdout)["steps"]
    assert {row["shard"] for row in rows if row["step"] == "fetch_shard"} == {
        "mine-000", "mine-2-000", "mine-3-000",
    }  # fmt: skip


def folder_of(tmp_path: Path, documents: int, characters: int) -> Recipe:
    """The recipe for JSON lines of so many documents."""
    folder = tmp_path / f"{documents}"
    folder.mkdir()
    jsonl(folder / "a.jsonl", documents, lambda n: {"text": f"{n} " + "word " * (characters // 5)})
    init(folder, "-o", tmp_path / "sized.yaml", "--force")
    return compose(str(tmp_path / "sized.yaml"))


def test_a_larger_corpus_gets_a_larger_model_more_tokens_and_a_smaller_share_held_out(
    home: Path, tmp_path: Path
) -> None:
    small, large = folder_of(tmp_path, 150, 1_000), folder_of(tmp_path, 3_000, 4_000)
    for value in (
        lambda recipe: recipe.model.config["hidden_size"], lambda recipe: recipe.tokenizer.vocab_size,
        lambda recipe: recipe.pretrain.segments["main"].tokens,
    ):  # fmt: skip
        assert value(small) < value(large)
    assert small.data.split.test > large.data.split.test
    assert small.name == large.name == "sized"


def test_one_kind_of_file_is_named_by_its_folder_so_that_new_files_come_in(home: Path, tmp_path: Path) -> None:
    found = folder_of(tmp_path, 150, 100).data.sources["mine"]
    assert isinstance(found, FilesSource)
    assert found.paths == (str(tmp_path / "150"),)


def test_few_documents_and_files_that_are_left_out_are_said(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "few"
    folder.mkdir()
    (folder / "book.txt").write_text(LONG)
    (folder / "bad.parquet").write_bytes(b"nope")
    (folder / "cover.png").touch()
    said = init(folder, "-o", tmp_path / "few.yaml").output
    assert "only 1 document:" in said and "left out" in said and "bad.parquet" in said and "1 .png" in said


def test_a_file_that_is_there_is_written_over_only_with_force(texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine.yaml"
    out.write_text("kept")
    assert "--force" in init(texts, "-o", out, code=2).stderr
    assert out.read_text() == "kept"
    init(texts, "-o", out, "--force")
    assert compose(str(out)).name == "mine"


def test_a_wrong_folder_or_file_name_is_told(home: Path, tmp_path: Path) -> None:
    assert "there is no folder" in init(tmp_path / "none", code=3).stderr
    assert "ends in .yaml" in init(tmp_path, "-o", "mine.txt", code=2).stderr


@pytest.mark.parametrize(("file", "name"), [("my texts.yaml", "my-texts"), ("-é.yaml", "mine"), ("a.b.yml", "a.b")])
def test_models_are_named_after_the_file(file: str, name: str) -> None:
    assert recipe_name(Path(file)) == name


@pytest.mark.parametrize(
    "text",
    ["pay ${amount} now", r"\${x} and \\${y}", "a\x07b\x85\x9b\u2028c\x7f\ufeff", 'tail \\ "quoted" é 🙂 {{x}}', "${"],
)
def test_text_that_yaml_or_the_options_could_take_for_their_own_comes_back_as_it_was(text: str) -> None:
    from omegaconf import OmegaConf

    read = yaml.safe_load(f"text: {quoted(text)}")
    assert OmegaConf.to_container(OmegaConf.create(read), resolve=True) == {"text": text}


def test_half_a_surrogate_pair_is_replaced() -> None:
    assert yaml.safe_load(quoted("a\ud800b")) == "a\ufffdb"


def test_prompts_and_folders_with_signs_of_their_own_give_a_recipe_that_loads(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "odd\nname: x ${HOME}"
    folder.mkdir()
    for n in range(3):
        (folder / f"{n}.txt").write_text(f"${{price}} \x07 is {LONG} {n}")
    out = tmp_path / "a b.yaml"
    said = init(folder, "-o", out).output
    assert f"fromzero plan '{out}'" in said and f"fromzero run '{out}'" in out.read_text()
    recipe = compose(str(out))
    assert recipe.models["base"].evaluate.prompts[0] == "${price} \x07 is"
    assert getattr(recipe.data.sources["mine"], "paths", None) == (str(folder),)
    assert sorted(path.name for path in tmp_path.glob("*.yaml")) == ["a b.yaml"]


def test_enough_labelled_documents_are_held_back(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sorted"
    folder.mkdir()
    jsonl(folder / "a.jsonl", 2_000, lambda n: {"text": f"{LONG} {n}", "label": "calm" if n < 1_000 else "odd"})
    said = init(folder, "-o", tmp_path / "sorted.yaml").output
    recipe = compose(str(tmp_path / "sorted.yaml"))
    assert recipe.data.split.test * 2_000 >= 200 and "classifier" in recipe.models
    assert "label in 'label': 2 values (calm 1,000, odd 1,000)" in said


def test_a_class_for_each_folder_an_odd_encoding_and_a_broken_file_come_out_as_options(
    home: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "classes"
    for name in ("calm", "odd"):
        (folder / name).mkdir(parents=True)
        for n in range(60):
            (folder / name / f"{n}.txt").write_bytes(
                f"{LONG} {n} {name}. Où est le café, là-bas ?".encode("cp1252" if n == 7 else "utf-8")
            )
    (folder / "calm" / "zeros.txt").write_bytes(b"\0\1\0\1")
    (folder / "calm" / "notes.docx").touch()
    said = init(folder, "-o", tmp_path / "classes.yaml").output
    recipe = compose(str(tmp_path / "classes.yaml"))
    source = recipe.data.sources["mine"]
    assert isinstance(source, FilesSource)
    assert (source.label_from, source.encoding, source.max_bad_files, source.paths) == (
        "folder", "auto", 1, (str(folder),),
    )  # fmt: skip
    assert "the folders' names: 2 values" in said and "cp1252 in 2 files (confidence" in said and "pandoc" in said


def test_names_that_are_no_utf_8_are_named_by_globs(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "names"
    folder.mkdir()
    for name in (b"caf\xe9.jsonl", b"b.jsonl"):
        with open(bytes(folder) + b"/" + name, "wb") as file:
            row = {"text": LONG} if name == b"b.jsonl" else {"body": LONG}
            file.write((json.dumps(row) + "\n").encode() * 3)
    init(folder, "-o", tmp_path / "names.yaml")
    sources = compose(str(tmp_path / "names.yaml")).data.sources.values()
    assert {source.paths for source in sources if isinstance(source, FilesSource)} == {
        (f"{folder}/caf?.jsonl",), (f"{folder}/b.jsonl",),
    }  # fmt: skip


def test_prompts_are_a_few_words_in_any_script_and_no_markup(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    folder.mkdir()
    body = "<p>" + "今天早上我们走到河边，看了很久的冰。水流得很慢，岸上很安静。" * 6 + "</p>"
    for n in range(5):
        (folder / f"{n}.html").write_text(f"<!DOCTYPE html><html><body><article>{body}</article></body></html>")
    init(folder, "-o", tmp_path / "pages.yaml")
    (prompt,) = compose(str(tmp_path / "pages.yaml")).models["base"].evaluate.prompts
    assert prompt.startswith("今天") and len(prompt) <= 40


def test_what_columns_say_of_texts_is_found_and_what_learns_from_it_suggested(home: Path, tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    (folder / "a").mkdir(parents=True)
    jsonl(
        folder / "a" / "reviews.jsonl", 60, lambda n: {"review": f"{LONG} {n}", "stars": n % 5, "topics": ["sea", "n"]}
    )
    spans = [{"start": 0, "end": 3, "label": "X"}]
    jsonl(folder / "a" / "found.jsonl", 60, lambda n: {"text": f"{LONG} {n}", "entities": spans})
    pair = {"chosen": {"from": "gpt", "value": "Yes, gladly."}, "rejected": {"from": "gpt", "value": "No."}}
    talk = [{"from": "human", "value": "Will you?"}]
    jsonl(folder / "a" / "dpo.jsonl", 60, lambda n: {"conversations": talk, **pair})
    jsonl(
        folder / "a" / "hh.jsonl",
        60,
        lambda n: {"prompt": f"Is {n} odd?", "chosen": f"I will see, {n}.", "rejected": "No"},
    )
    (folder / "a" / "ner.conll").write_text("Ada B-PER\nleft O\n\n" * 60)
    out = tmp_path / "found.yaml"
    said = init(folder, "-o", out).output
    assert "number in 'stars', labels in 'topics'" in said and "spans in 'entities'" in said
    recipe = compose(str(out))
    found = [(source.text, source.messages, source.turns, source.columns) for source in recipe.data.sources.values()]
    turns = {"user": ("prompt",), "assistant": ("chosen",)}
    wanted = [
        ("review", None, None, {"number": "stars", "labels": "topics"}),
        ("text", None, None, {"spans": "entities"}),
        ("text", "conversations", None, {"rejected": "rejected", "chosen": "chosen"}),
        ("text", None, turns, {"rejected": "rejected"}),
        ("tokens", None, None, {"tags": "tags"}),
    ]
    assert sorted(map(str, found)) == sorted(map(str, wanted))
    assert {name: model.kind for name, model in recipe.models.items()} == {
        "base": "causal_lm", "chat": "chat", "preference": "preference", "labels": "text_classification",
        "number": "text_regression", "spans": "token_classification",
    }  # fmt: skip
    assert recipe.models["labels"].train.several
