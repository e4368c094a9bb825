"""Models that read one text and write another: T5 and BART, trained, proven, measured, asked."""

from __future__ import annotations

import random
from importlib import import_module
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from transformers import (
    AutoModelForSeq2SeqLM,
    BartConfig,
    BartForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
)

from conf.schema.finetune import FinetuneRun
from conf.schema.methods import FullMethod
from tasks.core.errors import DataError
from tasks.core.workdir import Workdir
from tasks.finetune import export
from tasks.formats.model_folder import read_task
from tasks.models.sequence import sequence_training
from tasks.models.sequence.sequence_options import SequenceConf, SequenceEval
from tasks.models.translation.kind import KIND
from tasks.text import rewriting, targets
from tasks.text.encode import Encoder
from tests.tasks.tiny_model import WORDS, lora, table

CONF = SequenceConf(
    batch_size=8, epochs=20, eval_every=20, learning_rate=1e-2, patience=None, run=FinetuneRun(device="cpu", threads=1)
)


def write_start(folder: Path, tokenizer_of: Path, family: str) -> Path:
    tokenizer = export.load_tokenizer(tokenizer_of)
    torch.manual_seed(0)
    ids: dict[str, Any] = {"eos_token_id": 0, "pad_token_id": 1, "vocab_size": len(tokenizer)}
    if family == "t5":
        sizes = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2}
        network: Any = T5ForConditionalGeneration(T5Config(**sizes, decoder_start_token_id=1, dropout_rate=0.0, **ids))
    else:
        sizes = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
                 "decoder_attention_heads": 2, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "dropout": 0.0,
                 "max_position_embeddings": 64, "forced_eos_token_id": None}  # fmt: skip
        config = BartConfig(**sizes, decoder_start_token_id=0, bos_token_id=0, **ids)
        network = BartForConditionalGeneration(config)
    network.save_pretrained(folder)
    tokenizer.pad_token = "<|user|>"
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Words of one library, each to be written as one of another."""
    folder, other = tmp_path_factory.mktemp("docs"), dict(zip(WORDS["numpy"], WORDS["pandas"] * 2, strict=False))
    for part, count, seed in (("train", 120, 1), ("valid", 20, 2), ("test", 30, 3)):
        draw, rows, said = random.Random(seed), [], []
        for n in range(count):
            words = draw.sample(WORDS["numpy"], 2)
            rows.append({"text": f"{' '.join(words)} {n}"})
            said.append(targets.write({"target": " ".join(other[word] for word in words)}))
        (folder / part).mkdir()
        told = pl.Series([*said, None], dtype=pl.String)
        table([*rows, {"text": "nothing"}]).with_columns(targets=told).write_parquet(folder / part / "docs.parquet")
    return folder


@pytest.mark.parametrize(
    ("family", "method"), [("t5", FullMethod(kind="full")), ("bart", FullMethod(kind="full")), ("t5", lora(16))]
)
def test_it_learns_to_write_and_beats_the_text_as_it_is(
    family: str, method: Any, model_dir: Path, docs: Path, tmp_path: Path
) -> None:
    start = write_start(tmp_path / "start", model_dir, family)
    trained, measured = Workdir(tmp_path / "trained"), Workdir(tmp_path / "measured")
    for work in (trained, measured):
        work.make()
    conf = CONF.model_copy(update={"method": method, "prefix": "rewrite: ", "max_length": 48})
    stats = sequence_training.run(start, [docs], conf, trained, "translation")
    assert stats["documents"] == 120 and stats["proof"]["same_model"] < 1e-4 < stats["proof"]["learnt"]
    folder = trained.content / "model"
    evaluation = import_module("tasks.models.sequence.sequence_evaluation")
    found = evaluation.run(
        folder, docs / "test" / "docs.parquet", SequenceEval(resamples=100), measured, "translation", "copy", str
    )
    assert found["documents"] == 30 and found["metrics"]["chrf"] > found["metrics"]["copy_chrf"]
    items = pl.read_parquet(measured.content / "items.parquet")
    for name, metric in KIND.metrics().items():
        value = metric.value(metric.columns(items.select(metric.needs)).sum(axis=0))
        assert float(value) == pytest.approx(found["metrics"][name], abs=2e-6)
    model, encoder = rewriting.load(folder)
    texts = items.join(pl.read_parquet(docs / "test" / "docs.parquet"), on="id", maintain_order="left")[
        "text"
    ].to_list()
    assert rewriting.answer(model, encoder, texts, read_task(folder)) == items["predicted"].to_list()


def test_loss_is_plain_transformers(model_dir: Path, docs: Path, tmp_path: Path) -> None:
    start = write_start(tmp_path / "start", model_dir, "t5")
    tokenizer = export.load_tokenizer(start)
    rows = pl.DataFrame(
        {"id": ["a", "b"], "text": ["array axis shape", "dtype"], "target": ["frame", "column index merge"]}
    )
    found, left_out = sequence_training.examples(rows, tokenizer, CONF, 1)
    loss = sequence_training.SequenceLoss(sequence_training.make_network(start, CONF)).eval()
    arrays = sequence_training.two_texts(1)(found)
    plain = AutoModelForSeq2SeqLM.from_pretrained(start)
    with torch.no_grad():
        ours = float(loss(*map(torch.from_numpy, arrays))[0]) / loss.weight(arrays)
        ids, mask, _, labels = map(torch.from_numpy, arrays)
        theirs = float(plain(input_ids=ids, attention_mask=mask, labels=labels).loss)
    assert ours == pytest.approx(theirs, rel=1e-5) and left_out == 0


def test_a_text_ends_once_whatever_its_tokenizer_frames_it_with(model_dir: Path) -> None:
    encoder = Encoder.load(model_dir)
    (ids,), (cut,) = rewriting.ended(encoder, ["array axis"], 99), rewriting.ended(encoder, ["array axis shape"], 2)
    assert ids[-1] == encoder.tokenizer.eos_token_id and len(cut) == 2 and cut[-1] == ids[-1]


def test_documents_without_another_text_or_with_one_too_long_are_told(
    model_dir: Path, docs: Path, docs_dir: Path, tmp_path: Path
) -> None:
    start = write_start(tmp_path / "start", model_dir, "t5")
    work = Workdir(tmp_path / "work")
    work.make()
    with pytest.raises(DataError, match=r"the train part holds no document with another text.*target: COLUMN"):
        sequence_training.run(start, [docs_dir], CONF, work, "translation")
    with pytest.raises(DataError, match=r"of up to 2 tokens.*models\.NAME\.train\.target_length"):
        sequence_training.run(start, [docs], CONF.model_copy(update={"target_length": 2}), work, "translation")
