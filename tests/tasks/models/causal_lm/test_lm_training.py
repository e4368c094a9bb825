from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from conf.schema.finetune import FinetuneRun
from conf.schema.methods import FullMethod
from tasks.core.errors import DataError
from tasks.core.workdir import Workdir
from tasks.finetune import export
from tasks.formats.document_files import documents_in
from tasks.formats.tokens import IGNORE
from tasks.models.causal_lm import lm_training
from tasks.models.causal_lm.kind import CausalLmModel
from tasks.models.causal_lm.lm_options import LmConf
from tests.tasks.tiny_model import labelled_rows, lora, table

CPU = FinetuneRun(device="cpu", threads=1, precision="fp32")
CONF = LmConf(batch_size=8, learning_rate=3e-3, epochs=3, eval_every=10, run=CPU)


@pytest.fixture(scope="module")
def tokenizer(model_dir: Path) -> Any:
    return export.load_tokenizer(model_dir)


@settings(deadline=None)
@given(length=st.integers(2, 12), words=st.lists(st.integers(0, 40), min_size=1, max_size=4))
def test_every_token_of_a_text_and_its_end_carry_a_loss_once(tokenizer: Any, length: int, words: list[int]) -> None:
    texts = ["axis shape stride " * count + "dtype" for count in words]
    rows = iter(lm_training.examples(texts, tokenizer, length))
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        written: list[int] = []
        while len(written) < len(ids) + 1:
            row = next(rows)
            before = written[-1] if written else tokenizer.eos_token_id
            assert len(row["input_ids"]) <= length and row["input_ids"][0] == before and row["labels"][0] == IGNORE
            assert row["labels"][1:] == row["input_ids"][1:]
            written += row["labels"][1:]
        assert written == [*ids, tokenizer.eos_token_id]
    assert next(rows, None) is None


@pytest.mark.parametrize(("method", "rate", "least"), [(FullMethod(kind="full"), 3e-3, 0.3), (lora(4), 0.03, 0.02)])
def test_a_model_goes_on_with_its_training_and_knows_the_texts_better(
    model_dir: Path, docs_dir: Path, tmp_path: Path, tokenizer: Any, method: Any, rate: float, least: float
) -> None:
    work = Workdir(tmp_path)
    work.make()
    stats = lm_training.run(
        model_dir, [docs_dir], CONF.model_copy(update={"method": method, "learning_rate": rate}), work
    )
    rows = list(lm_training.examples(lm_training.texts([documents_in(docs_dir, "valid")], 200), tokenizer, 64))

    def loss(folder: Path) -> float:
        network: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        with torch.no_grad():
            logits = torch.cat([network(input_ids=torch.tensor([row["input_ids"]])).logits[0, :-1] for row in rows])
        return float(F.cross_entropy(logits, torch.cat([torch.tensor(row["labels"][1:]) for row in rows])))

    before, after = loss(model_dir), loss(work.content / "model")
    assert after < before - least, "a random network has not much that adapters could use"
    assert stats["metrics"]["valid_loss"] == pytest.approx(after, rel=1e-3)
    assert stats["proof"]["same_model"] < 1e-3 < stats["proof"]["learnt"]


def test_a_part_without_texts_is_named(model_dir: Path, tmp_path: Path) -> None:
    for part, count in (("train", 3), ("valid", 0)):
        (tmp_path / "docs" / part).mkdir(parents=True)
        table(labelled_rows(count, 0)).write_parquet(documents_in(tmp_path / "docs", part))
    with pytest.raises(DataError, match=r"valid part holds no document.*models\.NAME\.data\.sources"):
        lm_training.run(model_dir, [tmp_path / "docs"], CONF, Workdir(tmp_path / "work"))


def test_a_trained_one_has_to_beat_what_it_was_trained_from_unless_other_floors_are_named() -> None:
    def floors(**more: Any) -> tuple[str, ...]:
        return CausalLmModel.model_validate({"kind": "causal_lm", **more}).gate.floors

    assert floors() == ("gzip",)
    assert floors(train={}) == ("gzip", "untuned")
    assert floors(train={}, gate={"floors": []}) == ()
    for wrong, words in (
        ({"method": {"kind": "full"}}, r"add train=\{\}"),
        ({"gate": {"floors": ["untuned"]}}, "without train there is none"),
    ):
        with pytest.raises(ValueError, match=words):
            floors(**wrong)


def test_without_training_it_is_what_it_starts_from() -> None:
    assert CausalLmModel.model_validate({"kind": "causal_lm"}).training is None
