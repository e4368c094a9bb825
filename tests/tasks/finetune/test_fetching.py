"""What is brought into the store: the same bytes each time, and a tokenizer that is whole by itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from tasks.core.artifact import hash_file
from tasks.core.workdir import Workdir
from tasks.finetune import fetching, starting
from tests.tasks.finetune.families import FAMILIES, write_family

TEXT = "Say the array of numpy 12, é\n  and [MASK] more"


def brought(folder: Path, place: Path) -> Path:
    identity, conf = starting.in_folder(str(folder), f"models.own.start={folder}")
    work = Workdir(place)
    work.make()
    fetching.run(identity, conf, work)
    return work.content / "model"


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_a_tokenizer_says_what_transformers_makes_of_the_folder_and_knows_its_special_tokens(
    name: str, tmp_path: Path, home: Path
) -> None:
    folder = write_family(tmp_path / name, name)
    theirs = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    first, second = brought(folder, tmp_path / "1"), brought(folder, tmp_path / "2")
    assert {file.name: hash_file(file) for file in first.iterdir()} == {f.name: hash_file(f) for f in second.iterdir()}
    ours = PreTrainedTokenizerFast.from_pretrained(first, local_files_only=True)
    assert ours(TEXT)["input_ids"] == theirs(TEXT)["input_ids"]
    known = ours.get_vocab()
    assert ours.special_tokens_map == {key: token for key, token in theirs.special_tokens_map.items() if token in known}
    assert hash_file(first / "model.safetensors") == hash_file(folder / "model.safetensors")


def test_a_tokenizer_of_older_files_becomes_one_of_the_present_form(tmp_path: Path, home: Path) -> None:
    for name in ("gpt2", "bert"):
        folder = write_family(tmp_path / name, name, chats=False)
        whole = Tokenizer.from_file(str(folder / "tokenizer.json"))
        (folder / "tokenizer.json").unlink()
        whole.model.save(str(folder))
        if name == "bert":
            assert (folder / "vocab.txt").exists()
        ours = PreTrainedTokenizerFast.from_pretrained(brought(folder, tmp_path / f"{name}-brought"))
        assert ours("say the array")["input_ids"] == whole.encode("say the array").ids
        assert ours.eos_token == "<|endoftext|>" if name == "gpt2" else ours.cls_token == "[CLS]"


def test_files_of_the_user_stay_as_they_are(tmp_path: Path, home: Path) -> None:
    folder = write_family(tmp_path / "bert", "bert")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    made = brought(folder, tmp_path / "w")
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert "cls_token" in json.loads((made / "tokenizer_config.json").read_text())
    assert "cls_token" not in json.loads(before["tokenizer_config.json"])
