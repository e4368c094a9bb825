"""Classifiers made from open models, causal ones and encoders: what stands around a text, how it is cut, what is read
again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from conf.schema.finetune import FinetuneRun
from tasks.core.workdir import Workdir
from tasks.finetune import export, fetching, starting, text_examples
from tasks.formats.model_folder import read_task
from tasks.models.text_classification import classifier_evaluation, classifier_training, labelling
from tasks.models.text_classification.classifier_options import ClassifyConf
from tasks.text import text_models
from tests.tasks.finetune.families import CONTEXT, write_family

CONF = ClassifyConf(batch_size=16, eval_every=20, min_per_class=2, run=FinetuneRun(device="cpu", threads=1))
LONG = "array dtype " * CONTEXT


def brought(folder: Path, name: str) -> Path:
    written = write_family(folder / name, name, chats=False)
    identity, conf = starting.in_folder(str(written), f"models.own.start={written}")
    starting.check_fits(conf, ("causal", "masked"), "text_classification", False)
    work = Workdir(folder / "brought")
    work.make()
    fetching.run(identity, conf, work)
    return work.content / "model"


@pytest.mark.parametrize(
    ("name", "pooling"), [("bert", "auto"), ("bert", "mean"), ("roberta", "auto"), ("gpt2", "auto"), ("gemma", "auto")]
)
def test_a_tuned_open_model_is_asked_and_measured_as_it_was_trained(
    name: str, pooling: Any, docs_dir: Path, tmp_path: Path
) -> None:
    model, work = brought(tmp_path, name), Workdir(tmp_path / "tuned")
    work.make()
    conf = CONF.model_copy(update={"pooling": pooling})
    stats = classifier_training.run(model, [docs_dir], conf, work)
    is_encoder = name in ("bert", "roberta")
    assert stats["pooling"] == ("of the encoder" if is_encoder and pooling == "auto" else "mean")
    folder = work.content / "model"
    task = read_task(folder)
    theirs = AutoTokenizer.from_pretrained(model, local_files_only=True)
    network, encoder = labelling.load(folder)
    texts = ["the array of an axis", LONG, ""]
    for text in texts:
        ids = text_models.cut(text_models.framed(encoder.texts([text])[0], task, 0), CONTEXT, task.get("suffix", ()))
        if is_encoder:
            assert ids == theirs(text, truncation=True, max_length=CONTEXT)["input_ids"]
        assert len(ids) <= CONTEXT
    asked = labelling.answer(network, encoder, texts, {**task, "max_length": CONTEXT})
    measured = classifier_evaluation.probabilities(
        network, encoder.tokenizer, texts, {**task, "max_length": CONTEXT}, 256
    )
    for one, row in zip(asked, measured, strict=True):
        assert list(one["probabilities"].values()) == pytest.approx(row.tolist(), abs=1e-5)
    if is_encoder and pooling == "auto":
        alone = AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True).eval()
        with torch.inference_mode():
            logits = alone(**theirs(texts[0], return_tensors="pt")).logits[0]
        assert logits.softmax(-1).tolist() == pytest.approx(list(asked[0]["probabilities"].values()), abs=1e-5)


def test_an_encoder_whose_places_begin_behind_the_padding_is_not_asked_beyond_the_last(tmp_path: Path) -> None:
    model = brought(tmp_path, "roberta")
    assert export.context_of(model) == CONTEXT
    tokenizer = export.load_tokenizer(model)
    around = text_examples.frame(tokenizer, causal=False)
    assert around == {"prefix": [tokenizer.cls_token_id], "suffix": [tokenizer.sep_token_id]}
    assert text_examples.frame(tokenizer, causal=True) == {"prefix": [tokenizer.bos_token_id]}
