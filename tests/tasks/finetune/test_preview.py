"""What a plan foresees of fine-tuning is what fine-tuning then says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tasks.finetune import export
from tasks.finetune.preview import WARN
from tasks.models.chat import chat_preview, chat_training, windows
from tasks.models.chat.chat_options import ChatConf
from tasks.models.text_classification import label_preview
from tasks.models.text_classification.classifier_options import ClassifyConf
from tasks.text.encode import Encoder
from tests.tasks.tiny_model import table


def documents(path: Path, talks: list[list[dict[str, str]]]) -> Path:
    table([{"text": f"{n}", "messages": talk} for n, talk in enumerate(talks)]).write_parquet(path)
    return path


def said(who: str, words: int) -> dict[str, str]:
    return {"role": who, "content": " ".join(["axis", "shape", "of", "course"] * words)[: 6 * words]}


def talks(answer: int) -> list[list[dict[str, str]]]:
    return [[said("user", 2), said("assistant", answer if n % 2 else 3)] * (n % 3 + 1) for n in range(40)]


@pytest.mark.parametrize("answer", [4, 20, 60])
def test_the_share_that_carries_a_loss_is_foreseen_about(tmp_path: Path, model_dir: Path, answer: int) -> None:
    path, conf = documents(tmp_path / "docs.parquet", talks(answer)), ChatConf(max_length=48)
    text, warnings = chat_preview.chat([path], model_dir / "tokenizer.json", 1024, conf)
    taken = windows.conversations([path], None)
    found = chat_training.examples(taken.table, export.load_tokenizer(model_dir), 48)
    share = float(re.match(r"about ([\d.]+) % of the answers' tokens will carry a loss", text)[1])  # type: ignore[index]
    assert share == pytest.approx(100 * (1 - found.left_out), abs=5)
    assert bool(warnings) == (found.left_out > WARN) == bool(chat_training.said(taken, found, 48)["warnings"])


def test_what_a_classifier_will_not_read_is_foreseen_and_the_advice_helps(tmp_path: Path, model_dir: Path) -> None:
    texts = ["axis shape " * (3 + 40 * (n % 4 == 0)) for n in range(40)]
    path = tmp_path / "docs.parquet"
    rows = [{"text": f"{n} {text}", "label": "ab"[n % 2]} for n, text in enumerate(texts)]
    table([*rows, {"text": "nobody says what this is"}]).write_parquet(path)
    tokenizer = model_dir / "tokenizer.json"
    text, (warned,) = label_preview.classify([path], tokenizer, None, ClassifyConf(max_length=16))
    sizes = [len(ids) for ids in Encoder.of_file(tokenizer).texts([str(row["text"]) for row in rows])]
    read = sum(min(size, 16) for size in sizes) / sum(sizes)
    assert f"about {100 * read:.1f} % of the texts' tokens will be read: of 40 labelled documents 10 longer" in text
    assert warned["option"] == "models.NAME.train.max_length"
    assert label_preview.classify([path], tokenizer, None, ClassifyConf(max_length=max(sizes)))[1] == []
    limited = label_preview.classify([path], tokenizer, None, ClassifyConf(length_limit=16))
    assert limited[1][0]["option"] == "models.NAME.train.length_limit"
    assert label_preview.classify([path], tokenizer, None, ClassifyConf(length_limit=512))[1] == []


def test_taking_the_advice_of_the_warning_takes_it_away(tmp_path: Path, model_dir: Path) -> None:
    path = documents(tmp_path / "docs.parquet", talks(60))

    def foresee(**conf: Any) -> tuple[str, list[dict[str, str]]]:
        return chat_preview.chat([path], model_dir / "tokenizer.json", None, ChatConf(**conf))

    (warned,) = foresee(max_length=48)[1]
    assert warned["option"] == "models.NAME.train.max_length=48"
    assert foresee(max_length=1000)[1] == foresee(max_length="auto")[1] == []
    assert foresee(max_length="auto")[0].startswith("about 100.0 % of")


def test_conversations_that_are_left_out_are_counted(tmp_path: Path, model_dir: Path) -> None:
    some = [*talks(4), *([said("user", 3)] for _ in range(20))]
    path = documents(tmp_path / "docs.parquet", some)
    text, warnings = chat_preview.chat([path], model_dir / "tokenizer.json", 1024, ChatConf(max_conversations=30))
    assert "20 conversations without an answer left out" in text and "10 conversations beyond" in text
    assert [one["text"] for one in warnings] == ["33.3 % of 60 conversations are without an answer and left out"]
    none = documents(tmp_path / "none.parquet", [])
    assert (
        chat_preview.chat([none], model_dir / "tokenizer.json", 1024, ChatConf())[0]
        == "there is no conversation to train on"
    )
