"""The data stages beside their peers, on at least 100 MB of documentation: `make bench-data`.

`python -m tests.benchmarks.data FOLDER PEERS`: FOLDER keeps the corpus between calls, PEERS is a Python that has the
peers (infra/requirements-bench.txt). Every figure is of a process of its own that does one thing: work per CPU-second,
imports left out, and the peak of its memory.
"""

from __future__ import annotations

import json
import os
import platform
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from tasks.formats.documents import DOCUMENTS, PARTS, TableWriter
from tasks.training.cluster.torchrun import MALLOC
from tests.benchmarks import corpus

RESULTS = Path(__file__).parent / "results"
SIZE = 100_000_000
"""Bytes of text that everything is measured on."""
TRAINING = 25_000_000
"""Bytes of text that a tokenizer of 16,384 tokens is trained on."""
BANDS = {"0.7 to 0.8": (0.7, 0.8), "0.8 to 0.9": (0.8, 0.9), "over 0.9": (0.9, 1.0)}
PAIRS = 400
"""Planted near-duplicates in each band of Jaccard similarity."""
SHINGLE = 5


WORDS = pl.element().str.split(" ").list.reverse().list.join(" ")
BACKWARDS = (pl.col("id").str.reverse(), pl.col("text").str.split("\n").list.eval(WORDS).list.join("\n"))
"""Each line's words in the other order: as much text again that is no near-duplicate."""


def write(folder: Path, frame: pl.DataFrame) -> Path:
    """A shard's documents as the stages have them: everything in train, nothing held out."""
    for part in PARTS:
        with TableWriter(folder / part / "docs.parquet", DOCUMENTS) as writer:
            writer.add(frame if part == "train" else frame.clear())
    return folder


def sized(frame: pl.DataFrame, size: int) -> pl.DataFrame:
    """The first documents that have `size` bytes of text."""
    return frame.filter(pl.col("text").str.len_bytes().cum_sum() <= size)


def shingles(text: str) -> set[tuple[str, ...]]:
    """Runs of words, in lower case."""
    words = text.lower().split()
    return set(zip(*(words[n:] for n in range(SHINGLE)), strict=False))


def plant(frame: pl.DataFrame, folder: Path) -> Path:
    """The documents and near-duplicates of some of them, with pairs.json: [band, id, id] of each pair."""
    draw = random.Random(0)
    rows = frame.filter(pl.col("text").str.count_matches(r"\S+").is_between(200, 2000)).rows(named=True)
    wanted = dict.fromkeys(BANDS, PAIRS)
    added, pairs = [], []
    for row in draw.sample(rows, len(rows)):
        if not any(wanted.values()):
            break
        words, before = row["text"].split(" "), shingles(row["text"])
        for place in draw.sample(range(len(words)), max(1, int(len(words) * draw.uniform(0.002, 0.04)))):
            words[place] = "".join(draw.choices("abcdefghij", k=9))
        text = " ".join(words)
        after = shingles(text)
        likeness = len(before & after) / max(len(before | after), 1)
        band = next((name for name, (low, high) in BANDS.items() if low <= likeness < high and wanted[name]), None)
        if band:
            wanted[band] -= 1
            added.append({**row, "text": text, "id": f"{'f' * 24}{len(added):08x}"})
            pairs.append([band, row["id"], added[-1]["id"]])
    write(folder, pl.concat([frame, pl.DataFrame(added, frame.schema)]))
    (folder / "pairs.json").write_text(json.dumps(pairs))
    return folder


def prepare(folder: Path) -> None:
    """Everything that the jobs read, made once."""
    if (folder / "ready").exists():
        return
    everything = pl.read_parquet(corpus.make(folder / "debian")).unique("id").sort("id")
    for times, name in ((1, "sample"), (2, "twice"), (4, "four")):
        write(folder / name, sized(pl.concat([everything, everything.with_columns(*BACKWARDS)]), times * SIZE))
    sample = sized(everything, SIZE)
    plant(sample, folder / "planted")
    sized(sample, TRAINING).write_parquet(folder / "training.parquet")
    for name in ("jsonl", "parquet"):
        (folder / f"read-{name}").mkdir(exist_ok=True)
    sample.select("id", "text").write_parquet(folder / "read-parquet/sample.parquet")
    plain = folder / "read-jsonl/sample.jsonl"
    sample.select("id", "text").write_ndjson(plain)
    subprocess.run(["zstd", "-q", "-f", "--rm", plain], check=True)
    run([sys.executable, "-m", "tests.benchmarks.data_jobs"], "bpe", folder)
    (folder / "ready").touch()


def run(command: list[str], job: str, folder: Path) -> dict[str, Any]:
    """What a job said in its last line: cpu (s), peak_mb, and what it counted."""
    single = {"RAYON_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
    environ = {**os.environ, **single, **(MALLOC if job.startswith("load") else {})}  # as training sets it
    ran = subprocess.run([*command, job, str(folder)], env=environ, capture_output=True, text=True)
    if ran.returncode:
        raise SystemExit(f"{command} {job} failed:\n{ran.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    print(f"  {job}: {found}", file=sys.stderr)
    return found


SPEED = "documents per CPU-second", 1
VOLUME = "MB per CPU-second", 1e6
COMPARED = {
    "learn a 16k BPE from 25 MB": ("bpe", TRAINING, *VOLUME, ("tokenizers",)),
    "tokenize, 16k BPE": ("tokenize", "bytes", *VOLUME, ("datasets", "datatrove", "tokenizers", "tiktoken")),
    "batches of 64 x 1,024 tokens, shuffled": ("load", "tokens", "million tokens per CPU-second", 1e6, ("datasets",)),
    "near-duplicates, 112 hashes": ("near", "documents", *SPEED, ("datatrove", "datasketch", "rensa")),
    "rules of Gopher": ("rules_gopher", "documents", *SPEED, ("datatrove",)),
    "rules of C4": ("rules_c4", "documents", *SPEED, ("datatrove",)),
    "rules of FineWeb": ("rules_fineweb", "documents", *SPEED, ("datatrove",)),
    "jsonl.zst to documents (Parquet, zstd)": ("jsonl", "bytes", *VOLUME, ("datatrove", "datasets")),
    "Parquet to documents (Parquet, zstd)": ("parquet", "bytes", *VOLUME, ("datatrove", "datasets")),
}
"""What is compared: job, what it counts or how much it does, unit, scale, and the peers that have such a job."""
BESIDE = ("peak_mb", "recall", "tokens", "merges", "dropped")
"""What else is told of both."""


def compare(folder: Path, python: str) -> Iterator[dict[str, Any]]:
    """A row for each peer of each job, and one for each size of the corpus."""
    ours, peers = [sys.executable, "-m", "tests.benchmarks.data_jobs"], [python, "tests/benchmarks/data_peers.py"]
    for what, (job, counted, unit, scale, names) in COMPARED.items():
        mine = run(ours, job, folder)
        amount = (counted if isinstance(counted, int) else mine[counted]) / scale
        speed = amount / mine["cpu"]
        for name in names:
            theirs = run(peers, f"{job}_{name}", folder)
            other = amount / theirs["cpu"]
            row = {"what": what, "ours": round(speed, 2), "peer": round(other, 2), "peer_name": name, "unit": unit}
            both = {key: [mine[key], theirs[key]] for key in BESIDE if key in mine and key in theirs}
            yield {**row, "ratio": round(speed / other, 2), **both, **_decisions(folder, job, name, mine)}
    once = None
    for times, name in ((1, "sample"), (2, "twice"), (4, "four")):
        found = run(ours, "all", folder / name)
        once = once or found
        row = {"what": f"clean, sign, filter, tokenize {times * SIZE // 10**6} MB", "ours": round(found["cpu"], 1)}
        row |= {"peer": round(once["cpu"] * times, 1), "peer_name": "linear growth", "unit": "CPU-seconds"}
        yield {**row, "ratio": round(once["cpu"] * times / found["cpu"], 2), "peak_mb": [found["peak_mb"]]}


def _decisions(folder: Path, job: str, name: str, mine: dict[str, Any]) -> dict[str, Any]:
    """Where rules were compared: the share of documents decided alike, and the reasons of those dropped by one only."""
    dropped = [folder / f"out-{one}" / "dropped.json" for one in (job, f"{job}_{name}")]
    if not all(path.exists() for path in dropped):
        return {}
    own, theirs = (json.loads(path.read_text()) for path in dropped)
    alone = {
        "only_ours": Counter(own[one] for one in own.keys() - theirs.keys()),
        "only_theirs": Counter(theirs[one] for one in theirs.keys() - own.keys()),
    }
    alike = 1 - sum(reasons.total() for reasons in alone.values()) / mine["documents"]
    return {"alike": round(alike, 4), **{who: dict(reasons.most_common()) for who, reasons in alone.items()}}


def main(folder: Path, python: str) -> None:
    """Measure, print a table, write results/data.json row by row."""
    prepare(folder)
    about = {
        "device": f"{os.cpu_count()} cores, {platform.machine()}, one of them used",
        "date": datetime.now(UTC).date().isoformat(),
    }
    RESULTS.mkdir(exist_ok=True)
    rows = []
    for row in compare(folder, python):
        rows.append({**row, **about})
        (RESULTS / "data.json").write_text(json.dumps(rows, indent=1) + "\n")
        said = f"{row['ours']:>9,} {row['unit']}; {row['peer_name']} {row['peer']:,}, ratio {row['ratio']}"
        print(f"{row['what']:45} {said}; peak {' and '.join(map(str, row['peak_mb']))} MB", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), sys.argv[2])
