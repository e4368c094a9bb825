"""The steps of the stage tokenize: train a tokenizer, turn shards into token files, repeat documents."""

from __future__ import annotations

from typing import Any

from conf.schema.tokenize import TokenizerConf, UpsampleConf
from tasks.core.artifact import Artifact
from tasks.core.step import Cpu, Stats, step
from tasks.core.workdir import Workdir
from tasks.formats.document_files import DOCUMENTS_FILE, SIZES_FILE


def foretell(docs: Any, conf: TokenizerConf) -> dict[str, float]:
    """The vocabulary that is asked for, so that a plan knows the size of the network before there is a tokenizer."""
    return {"vocab_size": conf.vocab_size}


@step(
    resources=Cpu(2, 2), libraries=("tokenizers", "pyarrow"), data=("tasks/tokenize/templates/turns.jinja",),
    estimate=foretell,
)  # fmt: skip
def train_tokenizer(docs: tuple[Artifact, ...], conf: TokenizerConf, work: Workdir) -> Stats:
    """Train a tokenizer.  docs.parquet of all shards' train parts in → a transformers tokenizer's files out."""
    from tasks.tokenize import train

    return train.train_tokenizer([part / DOCUMENTS_FILE for part in docs], work.__truediv__, conf, work.scratch)


@step(resources=Cpu(1, 1), libraries=("tokenizers", "pyarrow", "numpy"))
def tokenize_shard(docs: Artifact, tokenizer: Artifact, conf: TokenizerConf, work: Workdir) -> Stats:
    """Tokenize train and valid.  PART/docs.parquet in → PART/tokens.bin, index.npy, meta.json out."""
    from tasks.tokenize import shards

    return shards.write_shard(docs.path, tokenizer.path, work.__truediv__, conf)


@step(resources=Cpu(1, 1), libraries=("polars", "numpy"))
def repeat_shard(tokens: Artifact, docs: Artifact, clusters: Artifact, conf: UpsampleConf, work: Workdir) -> Stats:
    """Repeat training documents by the size of their cluster.  train parts of a shard's tokens and documents, and
    sizes.parquet in → pass-N/train and pass-N/valid (empty), as tokenize_shard writes them, and repeated.parquet out.
    """
    from tasks.tokenize import repeats

    return repeats.write_repeats(tokens.path, docs / DOCUMENTS_FILE, clusters / SIZES_FILE, work.__truediv__, conf)
