"""Open models as starts: a folder is known by what its files hold, what cannot be used is refused by the plan."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.core.errors import ConfigError, DataError, FromzeroError
from tasks.core.plan.planner import Planner, Row
from tasks.core.step import interpreted_by
from tasks.core.store.local import LocalBackend
from tasks.core.store.store import Store
from tasks.core.workdir import Workdir
from tasks.finetune import fetching, open_models, starting
from tasks.finetune.steps import open_model
from tests.in_process import InProcess
from tests.tasks.finetune.families import write_family

CARD = "---\nlicense: apache-2.0\nbase_model: [own/base]\ntags: [x]\n---\n# A model\n"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_family(tmp_path_factory.mktemp("open") / "qwen", "qwen3")
    (folder / "README.md").write_text(CARD)
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path, home: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "qwen"))


def opened(interpreter: Any, folder: Path, takes: tuple[str, ...] = ("causal",), converses: bool = True) -> Any:
    with interpreted_by(interpreter):
        return open_model(str(folder), "own", takes, "chat", converses)


def planned(store: Store, folder: Path) -> Row:
    planner = Planner(store, looks_in=True)
    opened(planner, folder)
    (row,) = planner.rows
    return row


def test_a_folder_is_brought_once_wherever_it_lies_and_again_when_a_weight_changes(
    folder: Path, tmp_path: Path
) -> None:
    store = Store(LocalBackend(tmp_path / "store"))
    row = planned(store, folder)
    assert (row.action, row.estimate["parameters"]) == ("run", 15600.0)
    said = (
        f"{folder}: Qwen3ForCausalLM, 15,600 parameters, .* context 64 tokens, licence apache-2.0, made from own/base"
    )
    assert re.match(said, row.foreseen)
    interpreter = InProcess(store)
    made = opened(interpreter, folder)
    assert interpreter.made == ["fetch_model[own]"]
    assert made.stats["origin"] == {
        "start": "qwen", "architecture": "Qwen3ForCausalLM", "licence": "apache-2.0", "base_model": ["own/base"],
        "parameters": 15600,
    }  # fmt: skip
    weights = folder / "model.safetensors"
    os.utime(weights)
    moved = folder.rename(tmp_path / "elsewhere")
    row = planned(store, moved)
    assert row.action == "hit" and "Qwen3ForCausalLM" in row.foreseen, (
        "a touched file, and another place, change nothing"
    )
    raw = bytearray((moved / weights.name).read_bytes())
    raw[-1] ^= 1
    (moved / weights.name).write_bytes(raw)
    assert planned(store, moved).action == "run"
    other = opened(InProcess(store), moved)
    assert other.part("model").digest != made.part("model").digest
    raw[-1] ^= 1
    (moved / weights.name).write_bytes(raw)
    (moved / "README.md").write_text(CARD.replace("apache-2.0", "mit"))
    again = opened(InProcess(store), moved)
    assert again.stats["origin"]["licence"] == "mit"
    assert again.part("model").digest == made.part("model").digest, "what is trained from it stays as it is"


def test_what_is_not_needed_of_a_folder_is_neither_looked_at_nor_taken(folder: Path, tmp_path: Path) -> None:
    before = starting.in_folder(str(folder), "start")[0]
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt", "consolidated.safetensors", "own.py"):
        (folder / name).write_bytes(b"not read")
    assert starting.in_folder(str(folder), "start")[0] == before


def test_weights_in_several_files_are_all_known_and_a_missing_one_is_named(folder: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(tmp_path / "parts", max_shard_size="30KB")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(folder / name, tmp_path / "parts" / name)
    identity, conf = starting.in_folder(str(tmp_path / "parts"), "start")
    parts = [name for name in identity["files"] if name.startswith("model-")]
    assert len(parts) > 1 and conf.run.about["parameters"] == 15600
    (tmp_path / "parts" / parts[0]).unlink()
    with pytest.raises(ConfigError, match=f"start: lacks {parts[0]}, which its model.safetensors.index.json names"):
        starting.in_folder(str(tmp_path / "parts"), "start")


def test_a_folder_that_changes_between_the_look_and_the_step_is_not_taken(folder: Path, tmp_path: Path) -> None:
    identity, conf = starting.in_folder(str(folder), "start")
    (folder / "config.json").write_text((folder / "config.json").read_text() + "\n")
    work = Workdir(tmp_path / "w")
    work.make()
    with pytest.raises(DataError, match=r"config\.json has changed since it was looked at: run again"):
        fetching.run(identity, conf, work)


def rewritten(file: Path, **values: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | values))


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "there is no such folder: name one that exists, or hub:OWNER/NAME"),
    "no config": (lambda folder: (folder / "config.json").unlink(), r"holds no config\.json"),
    "no JSON": (lambda folder: (folder / "config.json").write_text("{"), r"its config\.json is no JSON"),
    "a pickle": (
        lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
        r"holds none of model\.safetensors, .*: load it once with transformers' AutoModel and write it with save_pretr",
    ),
    "no safetensors": (
        lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 100), r"model\.safetensors is no file of"
    ),
    "code": (
        lambda folder: rewritten(folder / "config.json", auto_map={"AutoModel": "own.Model"}),
        r"config\.json wants to run code of its own \(auto_map\), which is never done",
    ),
    "an adapter": (
        lambda folder: (folder / "adapter_config.json").write_text("{}"), "merge it into its model first"
    ),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "holds no tokenizer: write it beside"),
    "no template": (
        lambda folder: rewritten(folder / "tokenizer_config.json", chat_template=None),
        "has no chat template, which a model of kind chat needs: take the variant that was made to chat, or put",
    ),
    "an encoder": (
        lambda folder: rewritten(folder / "config.json", architectures=["BertForMaskedLM"], model_type="bert"),
        r"is a BertForMaskedLM, an encoder, and a model of kind chat is made from a causal language model \(Llama",
    ),
    "sequence to sequence": (
        lambda folder: rewritten(folder / "config.json", architectures=["T5Model"], is_encoder_decoder=True),
        "is a T5Model, a sequence-to-sequence model, and",
    ),
    "a body": (
        lambda folder: rewritten(folder / "config.json", architectures=["Qwen3Model"]),
        "is a Qwen3Model, a network without the head of a language model, and",
    ),
    "an architecture that nobody has": (
        lambda folder: rewritten(folder / "config.json", architectures=["OwnForCausalLM"], model_type="own"),
        r"is a OwnForCausalLM by its config\.json, which transformers [\d.]+ does not have: choose",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", sorted(DAMAGE))
def test_what_cannot_be_started_from_is_refused_by_the_plan_with_the_fix(
    case: str, folder: Path, tmp_path: Path
) -> None:
    change, message = DAMAGE[case]
    change(folder)
    with pytest.raises(FromzeroError, match=rf"^models\.own\.start={folder}: .*{message}"):
        planned(Store(LocalBackend(tmp_path / "store")), folder)


@pytest.mark.parametrize(
    ("head", "licence", "base"),
    [
        ("license: [mit, apache-2.0]\nbase_model: own/a", "mit, apache-2.0", ["own/a"]),
        ("license: other\nlicense_name: llama3", "llama3", []),
        ("license: 3", None, []),
        ("- list", None, []),
        ("a: [", None, []),
    ],
)
def test_the_licence_is_what_the_head_of_the_card_says(
    head: str, licence: str | None, base: list[str], folder: Path
) -> None:
    (folder / "README.md").write_text(f"---\n{head}\n---\n# A model of license: mit")
    about = open_models.about(folder, {file.name for file in folder.iterdir()})
    assert (about["licence"], about["base_model"]) == (licence, base)
