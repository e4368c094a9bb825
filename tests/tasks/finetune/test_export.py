from __future__ import annotations

import json
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM

from tasks.core.artifact import hash_file
from tasks.core.errors import ConfigError
from tasks.finetune import export


def test_examples_longer_than_the_models_context_are_a_config_error(model_dir: Path) -> None:
    export.check_context(model_dir, 64)
    with pytest.raises(ConfigError, match="context, 64"):
        export.check_context(model_dir, 65)


def test_the_end_of_text_fills_up_batches_where_there_is_no_pad_token(model_dir: Path) -> None:
    tokenizer = export.load_tokenizer(model_dir)
    tokenizer.pad_token = None
    assert export.pad_id(tokenizer) == tokenizer.eos_token_id
    tokenizer.pad_token = "<|end|>"
    assert export.pad_id(tokenizer) == tokenizer.convert_tokens_to_ids("<|end|>")


def test_a_saved_folder_names_no_place_and_is_the_same_wherever_it_is_made(model_dir: Path, tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        model = AutoModelForCausalLM.from_pretrained(model_dir)
        export.save(model, model_dir, tmp_path / name, {"kind": "chat", "max_length": 8})
        found.append({path.name: hash_file(path) for path in (tmp_path / name).iterdir()})
        for path in (tmp_path / name).glob("*.json"):
            assert str(tmp_path) not in path.read_text() and str(model_dir) not in path.read_text()
    assert found[0] == found[1] and "training_args.bin" not in found[0]
    assert json.loads((tmp_path / "one" / "task.json").read_text()) == {"kind": "chat", "max_length": 8}
