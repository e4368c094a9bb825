"""A small real text (Python's own help), a tokenizer trained on it, and its shards of tokens; jobs over them."""

from __future__ import annotations

from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import numpy as np
import pandas as pd

from conf.schema.model import ModelConf
from conf.schema.pretrain import PretrainConf, PretrainRun, SegmentConf
from conf.schema.tokenize import TokenizerConf
from tasks.core.workdir import Workdir
from tasks.formats.tokens import TokenFile
from tasks.pretrain.pretrain_job import PretrainJob
from tasks.tokenize import shards, train

HIDING: dict[str, Any] = {"vocab_size": 400, "mask_token": "[MASK]", "sentinels": 16}
ENCODER = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 80,
}
BERT = ModelConf(architecture="bert", config=ENCODER)
ROBERTA = ModelConf(architecture="roberta", config=ENCODER)
T5 = ModelConf(architecture="t5", config={"d_model": 64, "d_kv": 32, "d_ff": 128, "num_layers": 1, "num_heads": 2})
MIXTRAL = ModelConf(
    architecture="mixtral",
    config={**ENCODER, "num_key_value_heads": 2, "num_local_experts": 4, "num_experts_per_tok": 2},
)


def write(root: Path, **tokenizer: Any) -> Path:
    """help/train and help/valid, token files of `root`/help, and `root`/tokenizer."""
    conf = TokenizerConf.model_validate({**HIDING, **tokenizer})
    texts = sorted(text for text in topics.values() if len(text) > 400)
    for part, chosen in (("train", texts[:4]), ("valid", texts[4:6])):
        (root / "docs" / part).mkdir(parents=True)
        pd.DataFrame({"text": [text[:500] for text in chosen], "source": "help", "label": None}).to_parquet(
            root / "docs" / part / "docs.parquet"
        )

    def out(name: str) -> Path:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    train.train_tokenizer([root / "docs/train/docs.parquet"], lambda name: out(f"tokenizer/{name}"), conf, root)
    shards.write_shard(root / "docs", root / "tokenizer", lambda name: out(f"help/{name}"), conf)
    return root


def job(root: Path, work: Path, model: ModelConf, **options: Any) -> PretrainJob:
    """A job over the files that `write` left in `root`; options go to the segment, `run` and `noise` to theirs."""
    Workdir(work).make()
    run = {"device": "cpu", "threads": 1, "log_every": 1, "malloc": False, "precision": "fp32"}
    segment = {"tokens": 8 * 512, "batch_tokens": 512, "seq_len": 64, "peak_lr": 0.01}
    conf = PretrainConf(
        model=model,
        run=PretrainRun(**{**run, **options.pop("run", {})}),
        eval_interval=options.pop("eval_interval", 10),
        seed=options.pop("seed", 0),
        segment=SegmentConf(**{**segment, **options}),
    )
    train, valid = {"help": [str(root / "help/train")]}, [str(root / "help/valid")]
    return PretrainJob(conf, train, valid, str(root / "tokenizer"), None, root=str(work))


def unigram_entropy(root: Path) -> float:
    """Nats per token of the training part under the frequencies of its tokens: what is known without any context."""
    counts = np.bincount(np.asarray(TokenFile.open(root / "help" / "train").tokens))
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())
