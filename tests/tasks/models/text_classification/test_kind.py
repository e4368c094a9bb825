"""What fine-tuning is made from: copies by translation are a step of their own, made once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from conf.schema.finetune import FinetuneRun
from tasks.core.artifact import Artifact, Manifest
from tasks.core.errors import ConfigError
from tasks.core.plan.planner import Pending, Planner
from tasks.core.step import interpreted_by
from tasks.core.store.local import LocalBackend
from tasks.core.store.store import Store
from tasks.core.workdir import Workdir
from tasks.models.text_classification.classifier_options import AugmentConf, BackTranslationConf, ClassifyConf
from tasks.models.text_classification.kind import KIND, ClassifierModel
from tests.in_process import InProcess
from tests.tasks.finetune.translator import write_translator
from tests.tasks.tiny_model import WORDS, write_docs, write_model

CONF = ClassifyConf(
    batch_size=8, max_length=32, eval_every=5, min_per_class=2, run=FinetuneRun(device="cpu", threads=1)
)  # fmt: skip


class House:
    """A store with a pretrained model and documents, and what fine-tuning makes of them."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(LocalBackend(folder / "store"))
        self.base = self._publish(folder, "pretrain", lambda content: write_model(content / "model"))
        self.docs: Artifact | Pending = self._publish(
            folder, "decontaminate_shard", lambda content: write_docs(content, train=20)
        )

    def _publish(self, folder: Path, step: str, write: Any) -> Artifact:
        work = Workdir(folder / "work" / step)
        work.make()
        write(work.content)
        return Artifact.of(self.store.publish(work, Manifest(step, "k", {}, "", "", (), {}, (), {})))

    def tune(self, interpreter: Any, conf: ClassifyConf) -> Artifact:
        model = ClassifierModel.model_validate({"kind": "text_classification", "train": conf})
        data: Any = SimpleNamespace(
            documents=(self.docs,), tokenizer=Pending("train_tokenizer"), context=None, recipe="own"
        )
        with interpreted_by(interpreter):
            made: Artifact = KIND.train(model, self.base, data)
        return made

    def made(self, conf: ClassifyConf) -> list[str]:
        interpreter = InProcess(self.store)
        self.tune(interpreter, conf)
        return interpreter.made

    def planned(self, conf: ClassifyConf) -> dict[str, str]:
        planner = Planner(self.store)
        self.tune(planner, conf)
        return {row.step: row.action for row in planner.rows}


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_copies_are_translated_once_and_again_only_for_other_examples_or_models(house: House, tmp_path: Path) -> None:
    known = [word for words in WORDS.values() for word in words]
    there = write_translator(tmp_path / "there", {word: word.upper() for word in known})
    back = write_translator(tmp_path / "back", {word.upper(): word for word in known})
    models = {name: {"model": str(folder)} for name, folder in (("there", there), ("back", back))}
    how = BackTranslationConf.model_validate({**models, "temperature": 0, "max_tokens": 20})
    conf = CONF.model_copy(update={"augment": AugmentConf(translate=how)})
    assert house.made(CONF) == ["finetune_classifier"], "nothing is translated where nobody asked for it"
    assert house.planned(conf) == {"translate_examples": "run", "finetune_classifier": "wait"}
    assert house.made(conf) == ["translate_examples", "finetune_classifier"]
    assert house.made(conf) == []
    (made,) = [one for one in house.store.manifests("finetune_classifier") if len(one.inputs) == 3]
    assert sum(made.stats["examples"].values()) == 2 * made.stats["documents"]
    assert house.planned(conf.model_copy(update={"epochs": 2})) == {
        "translate_examples": "hit", "finetune_classifier": "run",
    }  # fmt: skip
    moved = back.rename(tmp_path / "moved")
    here = how.model_copy(update={"back": how.back.model_copy(update={"model": str(moved)})})
    same = conf.model_copy(update={"augment": AugmentConf(translate=here)})
    assert set(house.planned(same).values()) == {"hit"}, "it is known by its files, not by its place"
    write_translator(moved, {word.upper(): "other" for word in known})
    assert house.planned(same) == {"translate_examples": "run", "finetune_classifier": "wait"}


def test_a_missing_translator_is_refused_by_the_plan_while_all_else_still_waits(house: House, tmp_path: Path) -> None:
    named = {name: {"model": str(tmp_path / "none")} for name in ("there", "back")}
    augment = AugmentConf.model_validate({"translate": named})
    house.docs = Pending("decontaminate_shard")
    with pytest.raises(ConfigError, match=r"^models\.NAME\.train\.augment\.translate\.there\.model=.*no such folder"):
        house.planned(CONF.model_copy(update={"augment": augment}))
