"""What the network writes while it is trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from tokenizers import Tokenizer

from conf.schema.model import ModelConf, NetworkConf
from tasks.core.errors import ConfigError
from tasks.pretrain.pretrain_job import PretrainJob
from tasks.pretrain.trainer.pretrain_loop import PretrainLoop
from tasks.pretrain.trainer.text_samples import continued
from tasks.training.cluster.torchrun import launch
from tasks.training.trainer.signals import Stop
from tasks.training.trainer.training_log import samples_file
from tests.tasks.pretrain import texts
from tests.tasks.pretrain.conftest import GPT2, NATIVE
from tests.trainer_process import rows

WIDE = GPT2.model_copy(update={"config": {**GPT2.config, "n_positions": 64}})
SAMPLED = {"sample_every": 3, "sample_prompts": ("", "The"), "sample_tokens": 6}


class Never:
    asked = False


def train(job: PretrainJob) -> PretrainLoop:
    loop = PretrainLoop(job, PretrainLoop.place_of(job))
    assert loop.run(cast(Stop, Never()))
    loop.checkpoints.close()
    return loop


def written(job: PretrainJob) -> list[dict[str, Any]]:
    return [json.loads(line) for line in samples_file(job.work).read_text().splitlines()]


@pytest.mark.parametrize("options", [{"ema": 0.5}, {"run": {"activation_checkpointing": "full"}}])
def test_writing_changes_no_bit_of_the_training_though_dropout_draws(
    options: dict[str, Any], root: Path, tmp_path: Path
) -> None:
    run = options.get("run", {})
    silent = train(texts.job(root, tmp_path / "silent", WIDE, **options)).trainer.tensors()
    job = texts.job(root, tmp_path / "writing", WIDE, **{**options, "run": {**run, **SAMPLED}})
    loop = train(job)
    found = loop.trainer.tensors()
    assert found.keys() == silent.keys() and all(torch.equal(value, found[name]) for name, value in silent.items())
    said = written(job)
    assert [row["step"] for row in said] == [3, 6, 8]
    assert all([one["prompt"] for one in row["samples"]] == ["", "The"] for row in said)
    assert said[0]["samples"][0]["text"] != said[-1]["samples"][0]["text"]


@pytest.mark.parametrize("model", [WIDE, NATIVE, texts.MIXTRAL])
def test_what_is_written_is_the_likeliest_token_after_the_text_so_far(
    model: NetworkConf, root: Path, tmp_path: Path
) -> None:
    trainer = train(texts.job(root, tmp_path / "work", cast(ModelConf, model), tokens=2 * 512)).trainer
    ids = Tokenizer.from_file(str(root / "tokenizer" / "tokenizer.json")).encode("The statement").ids
    found = continued(trainer, [[0, *ids], [0]], 64, 5, eos=1)
    trainer.loss_module.eval()
    for start, tokens in zip(([0, *ids], [0]), found, strict=True):
        text = list(start)
        for token in tokens:
            given = torch.tensor([text])
            positions = torch.arange(len(text))[None]
            with torch.no_grad():
                logits = trainer.loss_module.model(input_ids=given, position_ids=positions, use_cache=False).logits[
                    0, -1
                ]
            assert logits[token] > logits.max() - 1e-4
            text.append(token)
    first = found[0][0]
    assert continued(trainer, [[0, *ids]], 64, 5, eos=first) == [[]], "a document that ends is not gone on with"


def test_processes_with_shards_of_the_weights_write_together_and_train_as_one_does(root: Path, tmp_path: Path) -> None:
    run = {**SAMPLED, "sample_every": 1}
    job = texts.job(root, tmp_path / "two", cast(ModelConf, NATIVE), run={**run, "processes": 2, "parallel": "fsdp"})
    launch(job)
    alone = texts.job(root, tmp_path / "one", cast(ModelConf, NATIVE), run=run)
    train(alone)
    assert [row["loss"] for row in rows(job)] == pytest.approx([row["loss"] for row in rows(alone)], rel=1e-5)
    assert [row["step"] for row in written(job)] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert written(job)[-1] == written(alone)[-1]


@pytest.mark.parametrize(
    ("model", "run", "message"),
    [
        (texts.BERT, SAMPLED, r"only a causal model continues text: set it to null"),
        (WIDE, {**SAMPLED, "sample_tokens": 63}, r"lower pretrain\.run\.sample_tokens"),
    ],
)
def test_samples_that_cannot_be_written_are_refused_before_the_first_step(
    model: ModelConf, run: dict[str, Any], message: str, root: Path, tmp_path: Path
) -> None:
    job = texts.job(root, tmp_path / "work", model, run=run)
    with pytest.raises(ConfigError, match=message):
        PretrainLoop(job, PretrainLoop.place_of(job))
