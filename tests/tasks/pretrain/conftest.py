"""Small token shards, a tokenizer's folder, and jobs over them."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conf.schema.model import ModelConf, NativeConf, NetworkConf
from conf.schema.pretrain import OptimizerConf, PretrainConf, PretrainRun, SegmentConf
from tasks.core.workdir import Workdir
from tasks.pretrain.pretrain_job import PretrainJob
from tests.s3_server import S3Server

VOCAB, EOS = 64, 0
LLAMA = ModelConf(
    architecture="llama",
    config={"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
)
GPT2 = ModelConf(
    architecture="gpt2",
    config={"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32, "attn_pdrop": 0.1, "resid_pdrop": 0.1},
)
NATIVE = NativeConf(
    depth=2, width=16, num_heads=4, num_kv_heads=2, intermediate_size=32, qk_norm=True, tie_embeddings=False
)


def write_shard(folder: Path, lengths: list[int], seed: int = 0) -> Path:
    """Documents of these lengths (their end included) as one part of a tokenize_shard artifact."""
    rng = np.random.default_rng(seed)
    documents = [np.append(rng.integers(1, VOCAB, size=length - 1), EOS) for length in lengths]
    tokens = np.concatenate([*documents, np.zeros(0, np.int64)]).astype("<u2")
    folder.mkdir(parents=True)
    tokens.tofile(folder / "tokens.bin")
    np.save(folder / "index.npy", np.cumsum([0, *lengths]).astype(np.int64))
    meta = {"dtype": "uint16", "vocab_size": VOCAB, "eos_id": EOS, "documents": len(lengths), "tokens": tokens.size}
    (folder / "meta.json").write_text(json.dumps(meta))
    return folder


def write_shards(root: Path) -> Path:
    """news-000, talk-000 with train and valid parts, and a tokenizer's folder."""
    for number, name in enumerate(("news-000", "talk-000")):
        write_shard(root / name / "train", [5, 9, 70, 1, 33, 12] * 20, seed=number)
        write_shard(root / name / "valid", [20, 7, 40], seed=10 + number)
    (root / "tokenizer").mkdir()
    (root / "tokenizer" / "tokenizer.json").write_text("{}")
    return root


def job_of(shards: Path, folder: Path, model: NetworkConf = LLAMA, **options: Any) -> PretrainJob:
    """A job with its work directory in `folder`; options go to the segment, `run` and `optimizer` to theirs."""
    work = Workdir(folder)
    work.make()
    run = {"device": "cpu", "threads": 1, "log_every": 1, "malloc": False, "precision": "fp32"}
    segment = {"tokens": 20 * 128, "batch_tokens": 128, "seq_len": 16, "peak_lr": 0.01}
    conf = PretrainConf(
        model=model,
        optimizer=OptimizerConf(**options.pop("optimizer", {})),
        run=PretrainRun(**{**run, **options.pop("run", {})}),
        eval_interval=options.pop("eval_interval", 10),
        seed=options.pop("seed", 0),
        segment=SegmentConf(**{**segment, **{k: v for k, v in options.items() if k != "start"}}),
    )
    train = {source: [str(shards / f"{source}-000" / "train")] for source in ("news", "talk")}
    valid = [str(shards / "news-000" / "valid")]
    return PretrainJob(conf, train, valid, str(shards / "tokenizer"), options.get("start"), root=str(work.root))


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """No test leaves its process in a group."""
    yield
    distributed = sys.modules.get("torch.distributed")  # many tests here do without torch
    if distributed is not None and distributed.is_initialized():
        distributed.destroy_process_group()


@pytest.fixture(scope="package")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One server for the tests of this folder; a test that kills it starts it again."""
    with S3Server(tmp_path_factory.mktemp("s3")) as server:
        server.make_bucket("training")
        yield server


@pytest.fixture
def on_s3(s3_server: S3Server, home: Path, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """An empty store in a bucket, which the environment names."""
    for name, value in s3_server.env.items():
        monkeypatch.setenv(name, value)
    store = {"kind": "s3", "bucket": "training", "prefix": uuid.uuid4().hex, "endpoint": s3_server.endpoint}
    monkeypatch.setenv("FROMZERO_STORE", json.dumps({**store, "part_mb": 5}))
    return s3_server


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small real text with its tokens and tokenizer, not to be changed."""
    from tests.tasks.pretrain import texts

    return texts.write(tmp_path_factory.mktemp("texts"))


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards and a tokenizer, not to be changed."""
    return write_shards(tmp_path_factory.mktemp("shards"))


@pytest.fixture
def make_job(shards: Path, tmp_path: Path) -> Callable[..., PretrainJob]:
    """A job in a work directory of its own, by name; options as in `job_of`."""

    def make(name: str = "work", model: NetworkConf = LLAMA, **options: Any) -> PretrainJob:
        return job_of(shards, tmp_path / name, model, **options)

    return make
