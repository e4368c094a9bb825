"""The same things as other tools do them, measured: `python tests/benchmarks/data_peers.py JOB FOLDER`.

Runs in a virtual environment that has the peers; nothing of fromzero is imported.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from measuring import measured, merges, recall

BANDS, ROWS, SHINGLE = 14, 8, 5
SEQ_LEN, BATCH = 1024, 64


def table(path: Path) -> dict[str, list[str]]:
    """Ids and texts of a documents table."""
    return pq.read_table(path, columns=["id", "text"]).to_pydict()


def size(texts: list[str]) -> dict[str, int]:
    """Documents, and bytes of their text."""
    return {"documents": len(texts), "bytes": sum(len(text.encode()) for text in texts)}


def bpe_tokenizers(folder: Path, out: Path) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    texts = table(folder / "training.parquet")["text"]
    special = ["<|endoftext|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())

    def work() -> dict[str, Any]:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=16_384, min_frequency=2, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        )
        tokenizer.train_from_iterator(texts, trainer)
        tokenizer.save(str(out / "tokenizer.json"), pretty=False)
        return {"merges": merges((out / "tokenizer.json").read_text())}

    return work


def tokenize_tokenizers(folder: Path, out: Path) -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer/tokenizer.json"))
    texts = table(folder / "sample/train/docs.parquet")["text"]

    def work() -> dict[str, Any]:
        tokens = 0
        for start in range(0, len(texts), 256):
            found = tokenizer.encode_batch_fast(texts[start : start + 256], add_special_tokens=False)
            tokens += sum(len(encoding.ids) + 1 for encoding in found)
        return {**size(texts), "tokens": tokens}

    return work


def tokenize_tiktoken(folder: Path, out: Path) -> Any:
    import tiktoken

    model = json.loads((folder / "tokenizer/tokenizer.json").read_text())["model"]
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    bytes_of = {chr(byte): byte for byte in shown} | {chr(256 + n): byte for n, byte in enumerate(hidden)}
    ranks = {bytes(bytes_of[c] for c in token): n for token, n in model["vocab"].items() if not token.startswith("<|")}
    pattern = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
    encoding = tiktoken.Encoding("sample", pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    texts = table(folder / "sample/train/docs.parquet")["text"]

    def work() -> dict[str, Any]:
        return {**size(texts), "tokens": sum(len(encoding.encode_ordinary(text)) + 1 for text in texts)}

    return work


def tokenize_datasets(folder: Path, out: Path) -> Any:
    from datasets import Dataset
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer/tokenizer.json"))
    data = Dataset.from_parquet(str(folder / "sample/train/docs.parquet"), cache_dir=str(out), columns=["text"])

    def encode(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        return {"ids": [e.ids for e in tokenizer.encode_batch_fast(batch["text"], add_special_tokens=False)]}

    def work() -> dict[str, Any]:
        found = data.map(encode, batched=True, remove_columns=["text"], cache_file_name=str(out / "map.arrow"))
        tokens = sum(len(ids) + 1 for batch in found.iter(1000) for ids in batch["ids"])
        return {**size(data["text"][:]), "tokens": tokens}

    return work


def load_datasets(folder: Path, out: Path) -> Any:
    from datasets import Dataset

    tokens = np.fromfile(folder / "out-tokenize/train/tokens.bin", np.uint16)
    blocks = tokens[: len(tokens) // SEQ_LEN * SEQ_LEN].astype(np.int64).reshape(-1, SEQ_LEN)
    Dataset.from_dict({"input_ids": blocks}).save_to_disk(str(out / "blocks"))
    data = Dataset.load_from_disk(str(out / "blocks")).shuffle(seed=0).with_format("numpy")

    def work() -> dict[str, Any]:
        tokens = 0
        for batch in data.iter(BATCH, drop_last_batch=True):
            labels = batch["input_ids"].copy()  # as transformers' collator does; documents are not kept apart
            tokens += labels.size
        return {"tokens": tokens}

    return work


def _pipeline(steps: list[Any], out: Path) -> None:
    from datatrove.executor import LocalPipelineExecutor

    LocalPipelineExecutor(steps, tasks=1, workers=1, logging_dir=str(out / "logs"), skip_completed=False).run()


def _parquet(folder: Path) -> Any:
    from datatrove.pipeline.readers import ParquetReader

    return ParquetReader(str(folder), glob_pattern="docs.parquet")


def tokenize_datatrove(folder: Path, out: Path) -> Any:
    from datatrove.pipeline.tokens import DocumentTokenizer

    file = str(folder / "tokenizer/tokenizer.json")
    texts = table(folder / "sample/train/docs.parquet")["text"]
    writer = DocumentTokenizer(
        str(out / "tokens"), file, str(out / "local"), eos_token="<|endoftext|>", shuffle_documents=False
    )

    def work() -> dict[str, Any]:
        _pipeline([_parquet(folder / "sample/train"), writer], out)
        return {**size(texts), "tokens": sum(file.stat().st_size for file in (out / "tokens").glob("*.ds")) // 2}

    return work


def near_datatrove(folder: Path, out: Path) -> Any:
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.pipeline.writers import JsonlWriter

    conf = MinhashConfig(n_grams=SHINGLE, num_buckets=BANDS, hashes_per_bucket=ROWS)
    place = {name: str(out / name) for name in ("signatures", "buckets", "remove", "kept")}
    signature, kept = MinhashDedupSignature(place["signatures"], conf), JsonlWriter(place["kept"], compression=None)
    ids = table(folder / "planted/train/docs.parquet")["id"]

    def work() -> dict[str, Any]:
        from datatrove.executor import LocalPipelineExecutor

        reader = _parquet(folder / "planted/train")
        _pipeline([reader, signature], out / "1")
        buckets = MinhashDedupBuckets(place["signatures"], place["buckets"], config=conf)
        logs = str(out / "2/logs")
        LocalPipelineExecutor([buckets], tasks=BANDS, workers=1, logging_dir=logs, skip_completed=False).run()
        _pipeline([MinhashDedupCluster(place["buckets"], place["remove"], config=conf)], out / "3")
        _pipeline([reader, MinhashDedupFilter(place["remove"]), kept], out / "4")
        return {"documents": len(ids)}

    def counted() -> dict[str, Any]:
        found = work()
        files = Path(place["kept"]).glob("*.jsonl")
        stay = {json.loads(line)["id"] for file in files for line in file.open()}
        return {**found, "recall": recall(folder / "planted/pairs.json", stay)}

    return counted


def _shingles(text: str) -> set[bytes]:
    words = text.lower().split()
    return {" ".join(words[n : n + SHINGLE]).encode() for n in range(max(len(words) - SHINGLE + 1, 1))}


def near_datasketch(folder: Path, out: Path) -> Any:
    from datasketch import MinHash, MinHashLSH

    data = table(folder / "planted/train/docs.parquet")

    def work() -> dict[str, Any]:
        lsh, kept = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS)), set()
        for identity, text in zip(data["id"], data["text"], strict=True):
            signature = MinHash(BANDS * ROWS)
            signature.update_batch(_shingles(text))
            if not lsh.query(signature):
                kept.add(identity)
            lsh.insert(identity, signature, check_duplication=False)
        return {"documents": len(data["id"]), "recall": recall(folder / "planted/pairs.json", kept)}

    return work


def near_rensa(folder: Path, out: Path) -> Any:
    from rensa import RMinHash, RMinHashLSH

    data = table(folder / "planted/train/docs.parquet")

    def work() -> dict[str, Any]:
        lsh, kept = RMinHashLSH(threshold=0.7, num_perm=BANDS * ROWS, num_bands=BANDS), set()
        for number, (identity, text) in enumerate(zip(data["id"], data["text"], strict=True)):
            signature = RMinHash(num_perm=BANDS * ROWS, seed=0)
            signature.update(list(_shingles(text)))
            if not lsh.query(signature):
                kept.add(identity)
            lsh.insert(number, signature)
        return {"documents": len(data["id"]), "recall": recall(folder / "planted/pairs.json", kept)}

    return work


def _rules_datatrove(name: str) -> Any:
    def job(folder: Path, out: Path) -> Any:
        from datatrove.data import Document
        from datatrove.pipeline import filters

        known = {
            "gopher": (filters.GopherQualityFilter, filters.GopherRepetitionFilter),
            "c4": (filters.C4QualityFilter,),
            "fineweb": (filters.FineWebQualityFilter,),
        }
        docs, chosen = table(folder / "sample/train/docs.parquet"), [kind() for kind in known[name]]

        def work() -> dict[str, Any]:
            reasons = {}
            for identity, text in zip(docs["id"], docs["text"], strict=True):
                document = Document(text=text, id=identity)
                for one in chosen:
                    verdict = one.filter(document)
                    if verdict is not True:
                        reasons[identity] = verdict[1]
                        break
            (out / "dropped.json").write_text(json.dumps(reasons))
            return {"documents": len(docs["id"]), "dropped": len(reasons)}

        return work

    return job


rules_gopher_datatrove, rules_c4_datatrove, rules_fineweb_datatrove = map(_rules_datatrove, ("gopher", "c4", "fineweb"))


def _read_datatrove(reader: Any, out: Path) -> Any:
    from datatrove.pipeline.writers import ParquetWriter

    def work() -> dict[str, Any]:
        _pipeline([reader, ParquetWriter(str(out / "docs"), compression="zstd")], out)
        return _written(next((out / "docs").glob("*.parquet")))

    return work


def _written(docs: Path) -> dict[str, int]:
    lengths = pc.binary_length(pq.read_table(docs, columns=["text"])["text"])
    return {"documents": len(lengths), "bytes": pc.sum(lengths).as_py()}


def jsonl_datatrove(folder: Path, out: Path) -> Any:
    from datatrove.pipeline.readers import JsonlReader

    return _read_datatrove(JsonlReader(str(folder / "read-jsonl"), compression="zstd"), out)


def parquet_datatrove(folder: Path, out: Path) -> Any:
    from datatrove.pipeline.readers import ParquetReader

    return _read_datatrove(ParquetReader(str(folder / "read-parquet")), out)


def _read_datasets(kind: str, file: Path, out: Path) -> Any:
    from datasets import load_dataset

    def work() -> dict[str, Any]:
        data = load_dataset(kind, data_files=str(file), split="train", cache_dir=str(out))
        data.to_parquet(str(out / "docs.parquet"))
        return _written(out / "docs.parquet")

    return work


def jsonl_datasets(folder: Path, out: Path) -> Any:
    return _read_datasets("json", folder / "read-jsonl/sample.jsonl.zst", out)


def parquet_datasets(folder: Path, out: Path) -> Any:
    return _read_datasets("parquet", folder / "read-parquet/sample.parquet", out)


if __name__ == "__main__":
    name, place = sys.argv[1], Path(sys.argv[2])
    scratch = place / f"out-{name}"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    measured(globals()[name](place, scratch))
