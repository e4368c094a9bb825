from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
import torch

from conf.schema.evaluate import EvaluateRun
from tasks.core.errors import ArtifactError, DataError
from tasks.core.workdir import Workdir
from tasks.evaluate import scoring
from tasks.models.chat import answers
from tasks.models.chat.chat_options import ChatEval
from tests.tasks.tiny_model import labelled_rows, table

CPU = EvaluateRun(device="cpu", threads=1)
CONF = ChatEval(window=64, stride=48, run=CPU)


def test_only_the_answers_count(model_dir: Path) -> None:
    model, tokenizer = scoring.load_causal(model_dir, scoring.set_up(CPU)), scoring.load_tokenizer(model_dir)
    turns = [{"role": "user", "content": "say " * 40}, {"role": "assistant", "content": "shé"}]
    items = answers.score(model, tokenizer, table([{"text": "t", "messages": turns}]), CONF)
    assert items["tokens"][0] == len(tokenizer("shé<|end|>")["input_ids"])
    assert items["bytes"][0] == 4
    assert 0 < items["nats"][0] < 10 * items["tokens"][0]


def test_a_model_for_another_task_is_refused(classifier_model: Path, evalset: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="classification"):
        answers.run(classifier_model, evalset, CONF, Workdir(tmp_path))


def test_a_model_that_was_not_fine_tuned_is_refused(model_dir: Path, evalset: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"task\.json"):
        answers.run(model_dir, evalset, CONF, Workdir(tmp_path))


def test_an_evaluation_set_without_conversations_is_an_error_in_the_data(chat_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "test.parquet"
    table(labelled_rows(3, 0)).write_parquet(path)
    with pytest.raises(DataError, match="no conversation"):
        answers.run(chat_model, path, CONF, Workdir(tmp_path))


def test_what_a_model_was_made_from_is_measured_on_the_tokens_of_that_model(
    chat_model: Path, evalset: Path, tmp_path: Path
) -> None:
    network = scoring.load_causal(chat_model, scoring.set_up(CPU))
    with torch.no_grad():
        network.get_output_embeddings().weight.mul_(1.5)
    network.save_pretrained(tmp_path / "start")
    tuned, start = Workdir(tmp_path / "tuned"), Workdir(tmp_path / "of start")
    tuned.make()
    start.make()
    answers.run(chat_model, evalset, CONF, tuned)
    answers.run_start(tmp_path / "start", chat_model, evalset, CONF, start)
    ours, before = (pl.read_parquet(work / "items.parquet") for work in (tuned, start))
    assert ours.drop("nats").equals(before.drop("nats"))
    assert (ours["nats"] != before["nats"]).all()
