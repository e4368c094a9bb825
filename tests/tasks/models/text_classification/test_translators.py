"""Which models translate is known by their files or their commit, and what cannot translate is refused beforehand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.core.errors import ConfigError, DataError, HostError
from tasks.finetune import open_models
from tasks.models.text_classification import translators
from tasks.models.text_classification.classifier_options import BackTranslationConf, TranslatorConf
from tests.tasks.finetune.translator import write_translator

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_translator(tmp_path / "there", {"array": "Feld"})


def conf(there: str | Path, back: str | Path | None = None, **options: object) -> BackTranslationConf:
    models = {
        name: {"model": str(model), "revision": None if str(model).startswith("/") else COMMIT}
        for name, model in (("there", there), ("back", back or there))
    }
    return BackTranslationConf.model_validate({"max_tokens": 20, **models, **options})


def identity(folder: Path) -> object:
    return translators.observe_translators(conf(folder), None)[0]["there"]


def test_a_folder_is_known_by_what_its_files_hold_and_not_by_where_it_lies(folder: Path, tmp_path: Path) -> None:
    known = identity(folder)
    (folder / "README.md").write_text("about it")
    (folder / "pytorch_model.bin").write_bytes(b"not read")
    (folder / ".cache").write_text("hidden")
    moved = tmp_path / "moved"
    folder.rename(moved)
    assert identity(moved) == known
    changes: dict[str, Callable[[bytes], bytes]] = {
        "model.safetensors": lambda raw: raw[:-1] + b"\x01",
        "tokenizer.json": lambda raw: raw.replace(b"Feld", b"Fell"),
        "generation_config.json": lambda raw: raw.replace(b"{", b'{"length_penalty": 2.0,', 1),
        "config.json": lambda raw: raw + b"\n",
    }
    for name, change in changes.items():
        raw = (moved / name).read_bytes()
        (moved / name).write_bytes(change(raw))
        assert identity(moved) != known, name
        (moved / name).write_bytes(raw)
    assert identity(moved) == known


def test_files_are_hashed_again_only_when_they_have_changed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found, memory = translators.observe_translators(conf(folder), None)
    hashed: list[str] = []
    real = translators.hash_file
    monkeypatch.setattr(translators, "hash_file", lambda file: hashed.append(file.name) or real(file))
    assert translators.observe_translators(conf(folder), memory) == (found, memory) and hashed == []
    with (folder / "config.json").open("a") as config:
        config.write("\n")
    changed, again = translators.observe_translators(conf(folder), memory)
    assert set(hashed) == {"config.json"} and changed != found and again.keys() == memory.keys()


def test_a_folder_that_has_changed_since_it_was_looked_at_is_not_used(folder: Path) -> None:
    own, known = conf(folder).there, identity(folder)
    assert translators.located(own, known, 20) == folder  # type: ignore[arg-type]
    (folder / "tokenizer_config.json").write_text("{}")
    with pytest.raises(DataError, match="has changed since it was looked at: run again"):
        translators.located(own, known, 20)  # type: ignore[arg-type]


def rewritten(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


DAMAGE: dict[str, tuple[Callable[[Path], object], type[Exception], str]] = {
    "no folder": (shutil.rmtree, ConfigError, "there is no such folder: name one that exists"),
    "no config": (lambda folder: (folder / "config.json").unlink(), ConfigError, r"holds no config\.json"),
    "no JSON": (lambda folder: (folder / "config.json").write_text("{"), ConfigError, r"its config\.json is no JSON"),
    "a pickle": (
        lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
        ConfigError, r"holds none of model\.safetensors, .*: load it once .* save_pretrained",
    ),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), ConfigError, "holds no tokenizer: write it"),
    "SentencePiece": (
        lambda folder: (folder / "tokenizer.json").rename(folder / "source.spm"),
        HostError, "SentencePiece's: the Python package sentencepiece is missing here",
    ),
    "a causal model": (
        lambda folder: rewritten(folder / "config.json", is_encoder_decoder=False, model_type="llama"),
        ConfigError, "is no sequence-to-sequence model .*'llama'",
    ),
    "a short context": (
        lambda folder: rewritten(folder / "config.json", max_position_embeddings=19),
        ConfigError, r"context is 19 tokens: lower models\.NAME\.train\.augment\.translate\.max_tokens from 20",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(DAMAGE))
def test_what_cannot_translate_is_named_by_its_option_with_the_fix(
    case: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    change, kind, message = DAMAGE[case]
    broken = tmp_path / "broken"
    shutil.copytree(folder, broken)
    change(broken)
    monkeypatch.setattr(open_models, "find_spec", lambda name: None)
    with pytest.raises(kind, match=rf"^models\.NAME\.train\.augment\.translate\.back\.model={broken}: .*{message}"):
        translators.observe_translators(conf(folder, broken), None)


def test_a_model_of_the_hub_is_known_by_its_commit_and_looked_for_in_the_cache(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match=rf"HF_HUB_OFFLINE is set: .*`hf download own/mt --revision {COMMIT}`"):
        translators.observe_translators(conf("own/mt"), None)
    snapshot = tmp_path / "hub" / "models--own--mt" / "snapshots" / COMMIT
    shutil.copytree(folder, snapshot)
    found, memory = translators.observe_translators(conf("own/mt"), None)
    assert found["there"] == {"model": "own/mt", "revision": COMMIT} and memory == {}
    assert translators.located(TranslatorConf(model="own/mt", revision=COMMIT), found["there"], 20) == snapshot
    with pytest.raises(ConfigError, match="context is 40 tokens"):
        translators.observe_translators(conf("own/mt", max_tokens=41), None)
