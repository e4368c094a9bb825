"""No code of a model's maker is ever run: not asked for, not asked about."""

from __future__ import annotations

import ast
import builtins
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks.formats.model_folder import ForeignModel, refuse_foreign
from tasks.models.chat.chat_options import ChatConf
from tasks.models.text_classification.classifier_options import ClassifyConf

ROOT = Path(__file__).parents[2]
LOADERS = ("from_pretrained", "pipeline")
"""Functions of transformers that take code of a model when they are let, or ask for it on a terminal."""


WIRING = ("flows/", "tasks/core/engine/prefect_engine.py")
"""Where `pipeline` is a flow of ours."""


def calls() -> Iterator[tuple[str, ast.Call]]:
    for folder in ("flows", "tasks", "conf"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_bytes())):
                if isinstance(node, ast.Call):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", node


def name_of(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def test_every_call_that_could_take_foreign_code_says_that_it_does_not() -> None:
    found, wrong = 0, []
    for where, call in calls():
        named = {keyword.arg: keyword.value for keyword in call.keywords}
        chosen = named.get("trust_remote_code")
        if name_of(call) in LOADERS and (call.args or chosen) and not where.startswith(WIRING):
            found += 1
            if not (isinstance(chosen, ast.Constant) and chosen.value is False):
                wrong.append(where)
        elif chosen is not None and not (isinstance(chosen, ast.Constant) and chosen.value is False):
            wrong.append(where)
    assert wrong == [] and found > 8


def test_no_text_of_ours_advises_to_trust_foreign_code() -> None:
    files = [
        ROOT / "README.md",
        *(path for folder in ("docs", "flows", "tasks", "conf") for path in (ROOT / folder).rglob("*")),
    ]
    texts = {path: path.read_text() for path in files if path.suffix in (".py", ".md", ".yaml", ".html")}
    assert [str(path) for path, text in texts.items() if "trust_remote_code=True" in text] == []


def swapped(tiny: Path, folder: Path) -> Path:
    """A model whose config.json names code beside it, of a kind that transformers does not have."""
    shutil.copytree(tiny, folder)
    config = json.loads((folder / "config.json").read_text())
    auto = {"AutoConfig": "own.Config", "AutoModel": "own.Model", "AutoModelForCausalLM": "own.Model"}
    auto["AutoModelForSequenceClassification"] = "own.Model"
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "strange", "auto_map": auto}))
    (folder / "own.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")
    return folder


def causal(folder: Path) -> Any:
    import torch

    from tasks.evaluate.scoring import load_causal

    return load_causal(folder, torch.device("cpu"))


def registered(folder: Path) -> Any:
    from tasks.text.generation import load

    return load(folder)


def labelling(folder: Path) -> Any:
    from tasks.models.text_classification.labelling import load

    return load(folder)


def chat(folder: Path) -> Any:
    from tasks.models.chat.chat_training import make_network

    return make_network(folder, None, ChatConf())  # type: ignore[arg-type]


def classifier(folder: Path) -> Any:
    from tasks.models.text_classification.classifier_training import make_network

    return make_network(folder, ["a", "b"], 0, ClassifyConf())


def beginning(folder: Path) -> Any:
    from tasks.pretrain.trainer.warm_start import refuse_other_network

    (folder.parent / "start").mkdir()
    folder.rename(folder.parent / "start" / "model")
    return refuse_other_network(None, folder.parent / "start", "main")


@pytest.mark.parametrize("load", [causal, registered, labelling, chat, classifier, beginning])
def test_a_config_that_names_code_is_one_clear_refusal_and_nobody_is_asked(
    tiny: Path, tmp_path: Path, load: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(*_: Any) -> str:
        raise AssertionError("somebody was asked")

    monkeypatch.setattr(builtins, "input", asked)
    folder = swapped(tiny, tmp_path / "model")
    with pytest.raises(ForeignModel, match=r"config\.json wants to run code of its own \(auto_map\)"):
        load(folder)
    assert not list(tmp_path.rglob("ran"))


@pytest.mark.parametrize("name", ["tokenizer_config.json", "generation_config.json"])
def test_a_tokenizer_that_names_code_is_refused(tiny: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(tiny, tmp_path / "model")
    (tmp_path / "model" / name).write_text(json.dumps({"auto_map": {"AutoTokenizer": ["own.Tokenizer", None]}}))
    with pytest.raises(ForeignModel, match=name):
        refuse_foreign(tmp_path / "model")


def test_an_adapter_that_names_its_base_is_refused(tiny: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny, tmp_path / "model")
    (tmp_path / "model" / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "/elsewhere"}))
    with pytest.raises(ForeignModel, match="merge it into its model"):
        refuse_foreign(tmp_path / "model")


def test_the_one_network_of_our_own_is_no_foreign_code(tiny_classifier: Path) -> None:
    from tasks.finetune.pooled_classifier import PooledClassifierConfig
    from tasks.text.text_models import OWN_HEAD

    assert PooledClassifierConfig.model_type == OWN_HEAD
    assert "auto_map" in json.loads((tiny_classifier / "config.json").read_text())
    refuse_foreign(tiny_classifier, OWN_HEAD)
    with pytest.raises(ForeignModel, match="auto_map"):
        refuse_foreign(tiny_classifier)
