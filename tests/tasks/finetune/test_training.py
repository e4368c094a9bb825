from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from conf.schema.finetune import FinetuneRun, TuneConf
from tasks.core.errors import ConfigError
from tasks.core.workdir import Workdir
from tasks.finetune import export
from tasks.finetune.training import order, set_up, train
from tasks.models.chat import chat_training
from tasks.models.chat.chat_options import ChatConf, LoraSpec
from tasks.models.text_classification import classifier_training
from tasks.models.text_classification.classifier_options import ClassifyConf
from tests.tasks.tiny_model import chat_rows, table


@given(st.lists(st.integers(1, 50), min_size=1, max_size=300), st.integers(1, 3), st.integers(1, 9))
def test_every_example_comes_once_in_each_epoch(lengths: list[int], epochs: int, batch_size: int) -> None:
    conf = TuneConf(epochs=epochs, batch_size=batch_size)
    assert sorted(order(lengths, conf)) == sorted([*range(len(lengths))] * epochs)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=100), st.integers(0, 3))
def test_the_order_is_a_pure_function_of_lengths_and_seed(lengths: list[int], seed: int) -> None:
    conf = TuneConf(seed=seed, batch_size=4)
    assert order(lengths, conf) == order(list(lengths), conf)


def test_another_seed_gives_another_order() -> None:
    assert order([1] * 50, TuneConf(seed=1)) != order([1] * 50, TuneConf(seed=2))


def test_batches_of_like_length_need_less_than_half_the_padding_of_random_ones() -> None:
    lengths = [7 * n % 61 + 1 for n in range(256)]

    def padding(indices: list[int]) -> int:
        rows = [indices[at : at + 8] for at in range(0, len(indices), 8)]
        return sum(max(lengths[i] for i in row) * len(row) for row in rows) - sum(lengths)

    assert padding(order(lengths, TuneConf(batch_size=8))) < padding(list(range(256))) / 2


def test_asking_for_a_gpu_where_there_is_none_is_a_config_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"run\.device"):
        set_up(TuneConf(run=FinetuneRun(device="cuda")))


@pytest.mark.parametrize("batch_size", [3, 8, 30])
def test_the_loss_on_held_out_answers_is_per_token_whatever_the_batch_size(
    model_dir: Path, tmp_path: Path, batch_size: int
) -> None:
    tokenizer, cpu = export.load_tokenizer(model_dir), FinetuneRun(device="cpu", threads=1)
    held = [{"role": "user", "content": "say"}], [{"role": "assistant", "content": "axis shape stride " * 5}]
    rows = chat_training.examples(table(chat_rows(20, 0)), tokenizer, 64).rows
    valid = chat_training.examples(
        table([*chat_rows(9, 5), {"text": "t", "messages": held[0] + held[1]}]), tokenizer, 64
    ).rows
    # a rate of next to nothing, so that what is measured is the model that is there
    conf = ChatConf(batch_size=batch_size, learning_rate=1e-12, eval_every=1, lora=LoraSpec(rank=1), run=cpu)
    work = Workdir(tmp_path)
    work.make()
    network = chat_training.adapt(model_dir, tokenizer, conf)
    with torch.no_grad():
        logits = [network(input_ids=torch.tensor([row["input_ids"]])).logits[0, :-1].double() for row in valid]
    labels = [torch.tensor(row["labels"][1:]) for row in valid]
    wanted = torch.nn.functional.cross_entropy(torch.cat(logits), torch.cat(labels), ignore_index=chat_training.IGNORE)
    outcome = train(network, rows[:batch_size], valid, chat_training.collate_with(0), conf, work)
    assert outcome.valid_loss == pytest.approx(float(wanted), rel=1e-5)


@pytest.mark.parametrize("batch_size", [3, 8])
def test_the_loss_of_a_classifier_is_the_same_whatever_the_batch_size(
    model_dir: Path, tmp_path: Path, batch_size: int
) -> None:
    rows = [{"input_ids": [n % 300 + 5, 7], "labels": int(n % 5 == 0)} for n in range(20)]
    conf = ClassifyConf(
        batch_size=batch_size, learning_rate=1e-12, eval_every=1, run=FinetuneRun(device="cpu", threads=1)
    )
    work = Workdir(tmp_path)
    work.make()
    torch.manual_seed(0)
    network, loss = (
        classifier_training.build(model_dir, ["a", "b"], 0, conf),
        classifier_training.weighted_loss([16, 4], conf),
    )
    batch = classifier_training.collate_with(0)(rows)
    with torch.no_grad():
        wanted = loss({"logits": network(input_ids=batch["input_ids"]).logits}, batch["labels"])
    outcome = train(network, rows[:batch_size], rows, classifier_training.collate_with(0), conf, work, loss)
    assert outcome.valid_loss == pytest.approx(float(wanted), rel=1e-5)
