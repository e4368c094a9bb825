"""Each step of the stage twice, in different directories."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conf.schema.tokenize import TokenizerConf
from tasks.core.artifact import Artifact, hash_file
from tasks.core.workdir import Workdir
from tasks.formats.tokens import TokenFile
from tasks.tokenize import steps

CONF = TokenizerConf(vocab_size=600)


def contents(work: Workdir) -> dict[str, str]:
    files = sorted(path for path in work.content.rglob("*") if path.is_file())
    return {str(path.relative_to(work.content)): hash_file(path) for path in files}


@pytest.fixture
def docs(tmp_path: Path, write, docstrings) -> list[Artifact]:
    made = []
    for n, texts in enumerate((docstrings[:250], docstrings[250:])):
        root = tmp_path / f"docs-{n}"
        write(root / "content/train/docs.parquet", texts)
        write(root / "content/valid/docs.parquet", texts[:5] if n else [])
        made.append(Artifact("decontaminate_shard", "key", "digest", {}, f"s-{n:03d}", None, root))
    return made


def test_both_steps_give_equal_bytes_twice(tmp_path: Path, docs: list[Artifact]) -> None:
    from dataclasses import replace

    trains = tuple(replace(shard, part_name="train") for shard in docs)
    found = []
    for folder in ("once", "another folder/again"):
        first, second = Workdir(tmp_path / folder / "t"), Workdir(tmp_path / folder / "s")
        first.make(), second.make()
        trained = steps.train_tokenizer.function(trains, CONF, first)
        tokenizer = Artifact("train_tokenizer", "key", "digest", trained, None, None, first.root)
        tokenized = steps.tokenize_shard.function(docs[0], tokenizer, CONF, second)
        found.append((trained, tokenized, contents(first), contents(second)))
    assert found[0] == found[1]
    trained, tokenized, first_files, second_files = found[0]
    assert set(first_files) == {
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "chat_template.jinja",
    }
    assert set(second_files) == {
        f"{p}/{f}" for p in ("train", "valid") for f in ("tokens.bin", "index.npy", "meta.json")
    }
    assert trained["vocab_size"] == 600 and tokenized["parts"]["valid"]["documents"] == 0
    empty = TokenFile.open(second.content / "valid")
    assert len(empty) == 0 and len(empty.tokens) == 0


def test_importing_the_door_imports_nothing_heavy() -> None:
    heavy = "polars", "pyarrow", "numpy", "tokenizers", "transformers"
    code = f"import sys, tasks.tokenize.steps; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_chat_template_is_declared_as_data() -> None:
    root = Path(steps.__file__).parents[2]
    assert all((root / name).is_file() for name in steps.train_tokenizer.data)
    assert {Path(name).name for name in steps.train_tokenizer.data} == {
        path.name for path in (root / "tasks/tokenize/templates").iterdir()
    }
