"""Every optimizer, schedule and way of making batches learns a small real text."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conf.schema.model import ModelConf
from tasks.pretrain.pretrain_job import PretrainJob
from tasks.pretrain.trainer.setup import make_trainer
from tasks.training.network.device import set_up

MakeJob = Callable[..., PretrainJob]
MODEL = ModelConf(
    architecture="llama",
    config={"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
)
WAYS: dict[str, dict[str, Any]] = {
    "adamw": {},
    "adam": {"optimizer": {"kind": "adam", "weight_decay": 1e-4}},
    "sgd": {"optimizer": {"kind": "sgd", "weight_decay": 0, "momentum": 0}, "peak_lr": 0.5},
    "momentum": {"optimizer": {"kind": "sgd", "weight_decay": 1e-4, "momentum": 0.9}, "peak_lr": 0.1},
    "nesterov": {"optimizer": {"kind": "sgd", "weight_decay": 0, "momentum": 0.9, "nesterov": True}, "peak_lr": 0.1},
    "muon": {"optimizer": {"kind": "muon"}},
    "l1": {"optimizer": {"l1": 1e-5}},
    "z_loss": {"optimizer": {"z_loss": 1e-4}},
    "cosine": {"schedule": "cosine", "final_lr": 0.1},
    "linear": {"schedule": "linear"},
    "label smoothing": {"label_smoothing": 0.1},
    "average": {"ema": 0.9},
    "growing batches": {"first_batch_tokens": 256, "ramp": 0.3},
}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The source of argparse as tokens, one a byte and one document a line, and the entropy of its tokens in nats."""
    folder = tmp_path_factory.mktemp("text")
    lines = Path(argparse.__file__).read_bytes().splitlines()
    tokens = np.concatenate([np.append(np.frombuffer(line, np.uint8), 0) for line in lines]).astype("<u2")
    tokens.tofile(folder / "tokens.bin")
    np.save(folder / "index.npy", np.cumsum([0, *(len(line) + 1 for line in lines)]))
    meta = {"dtype": "uint16", "vocab_size": 128, "eos_id": 0, "documents": len(lines), "tokens": len(tokens)}
    (folder / "meta.json").write_text(json.dumps(meta))
    shares = np.unique(tokens, return_counts=True)[1] / len(tokens)
    return folder, float(-(shares * np.log(shares)).sum())


@pytest.mark.parametrize("way", WAYS)
def test_a_small_text_is_learned_below_the_entropy_of_its_tokens(
    way: str, text: tuple[Path, float], make_job: MakeJob
) -> None:
    folder, entropy = text
    shape = {"tokens": 60 * 1024, "batch_tokens": 1024, "seq_len": 64, "peak_lr": 0.01}
    job = make_job(model=MODEL, **{**shape, **WAYS[way]})
    conf = job.conf.model_copy(update={"eval_tokens": 8192})
    job = PretrainJob(**{**vars(job), "conf": conf, "train": {"text": [str(folder)]}, "valid": [str(folder)]})
    trainer = make_trainer(job, set_up(job.conf.run))
    before = trainer.evaluate()
    assert abs(before - math.log(128)) < 0.2
    while trainer.step < job.conf.segment.steps:
        trainer.update()
    assert trainer.evaluate() < entropy
