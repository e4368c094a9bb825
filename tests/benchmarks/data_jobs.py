"""One thing that fromzero does with data, measured: `python -m tests.benchmarks.data_jobs JOB FOLDER`."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import awkward  # noqa: F401  what gigatoken imports at its first call: imports are left out
import gigatoken  # noqa: F401
import polars as pl

from conf.schema.clean import CleanConf, DedupConf, NormaliseConf
from conf.schema.rules import RulesConf
from conf.schema.tokenize import TokenizerConf
from tasks.clean import clean, clusters, filter, signatures
from tasks.collect import listing
from tasks.collect.document_writer import Documents
from tasks.collect.sources import files
from tasks.collect.sources.files import FilesSource
from tasks.formats.documents import read_batches
from tasks.pretrain.data.batches import Order, open_sources
from tasks.tokenize import shards, train
from tests.benchmarks.measuring import measured, merges, recall

CONF = TokenizerConf(vocab_size=16_384)
SEQ_LEN, BATCH = 1024, 64


def train_tokenizer(folder: Path, out: Path) -> dict[str, Any]:
    """A tokenizer of 16,384 tokens, into FOLDER/tokenizer."""
    tokenizer, engine = train.train([folder / "training.parquet"], CONF, out)
    (folder / "tokenizer").mkdir(exist_ok=True)
    train.save(tokenizer, (folder / "tokenizer").__truediv__, CONF)
    return {"merges": merges((folder / "tokenizer/tokenizer.json").read_text()), "engine": engine}


def tokenize(folder: Path, out: Path) -> dict[str, Any]:
    """Parquet in, memory maps out."""
    (out / "train").mkdir(), (out / "valid").mkdir()
    stats = shards.write_shard(folder / "sample", folder / "tokenizer", out.__truediv__, CONF)
    return {**stats["parts"]["train"], "engine": stats["engine"]}


def load(folder: Path, out: Path) -> dict[str, Any]:
    """Packed batches in the order of training, from the memory maps that the job `tokenize` left."""
    source = open_sources({"sample": [folder / "out-tokenize/train"]}, SEQ_LEN)["sample"]
    order = Order((source.blocks,), (BATCH,), 0, (0,))
    tokens = 0
    for step in range(source.blocks // BATCH):
        ids, _, _ = source.batch([block for _, block in order.share([step], 0, 1)])
        tokens += ids.size
    return {"tokens": tokens}


def cluster(out: Path, docs: Callable[[str], Path], conf: DedupConf) -> None:
    """Decide on the documents of one shard whose signatures are in `out`."""
    signed = {"shard": out / "signatures.parquet"}
    clusters.cluster_shards(signed, {"shard": docs}, None, out.__truediv__, out / "clusters", conf)


def near(folder: Path, out: Path) -> dict[str, Any]:
    """Signatures, clusters, and the documents without duplicates."""
    docs, conf = (lambda part: folder / "planted" / part / "docs.parquet"), DedupConf()
    signatures.sign_parts(docs, out / "signatures.parquet", conf)
    cluster(out, docs, conf)
    written = lambda part: out / part / "docs.parquet"  # noqa: E731
    stats = filter.apply_drops(docs, out / "shard/drop.parquet", written, out / "rejects.parquet")["parts"]["train"]
    kept = set(pl.read_parquet(written("train"), columns=["id"])["id"])
    return {"documents": stats["documents_in"], "recall": recall(folder / "planted/pairs.json", kept)}


def judge(name: str) -> Callable[[Path, Path], dict[str, Any]]:
    """The rules that were published under one name."""

    def job(folder: Path, out: Path) -> dict[str, Any]:
        conf = CleanConf(
            rules=RulesConf(published=(name,)), pii=(), normalise=NormaliseConf(mojibake=False, unicode=None)
        )
        cleaner, documents, reasons = clean.Cleaner(conf), 0, {}
        for batch in read_batches(folder / "sample/train/docs.parquet"):
            _, dropped = cleaner.clean(batch)
            documents += batch.height
            reasons.update(dropped.select("id", "reason").rows())
        (out / "dropped.json").write_text(json.dumps(reasons))
        return {"documents": documents, "dropped": len(reasons)}

    return job


def read(form: str) -> Callable[[Path, Path], dict[str, Any]]:
    """Read files of one format into the table of documents."""

    def job(folder: Path, out: Path) -> dict[str, Any]:
        conf = FilesSource(kind="files", paths=(str(folder / f"read-{form}"),))
        with Documents(out / "docs.parquet", out / "unreadable.jsonl", "sample") as documents:
            files.read(listing.list_entries("sample", conf), conf, documents, out)
        return documents.counts

    return job


def everything(folder: Path, out: Path) -> dict[str, Any]:
    """Clean, sign, cluster, filter and tokenize one shard."""
    docs, conf = (lambda part: folder / part / "docs.parquet"), DedupConf()
    cleaned, filtered = (lambda part: out / f"clean/{part}/docs.parquet"), out / "filtered"
    clean.clean_parts(docs, cleaned, out / "rejects.parquet", CleanConf())
    signatures.sign_parts(cleaned, out / "signatures.parquet", conf)
    cluster(out, cleaned, conf)
    written = lambda part: filtered / part / "docs.parquet"  # noqa: E731
    filter.apply_drops(cleaned, out / "shard/drop.parquet", written, out / "rejects.parquet")
    (out / "train").mkdir(), (out / "valid").mkdir()
    return {"tokens": shards.write_shard(filtered, folder.parent / "tokenizer", out.__truediv__, CONF)["tokens"]}


JOBS = {
    "bpe": train_tokenizer, "tokenize": tokenize, "load": load, "near": near,
    **{f"rules_{name}": judge(name) for name in ("gopher", "c4", "fineweb")},
    "jsonl": read("jsonl"), "parquet": read("parquet"), "all": everything,
}  # fmt: skip

if __name__ == "__main__":
    name, place = sys.argv[1], Path(sys.argv[2])
    scratch = place / f"out-{name}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    measured(lambda: JOBS[name](place, scratch))
