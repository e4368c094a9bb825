"""Millions of short documents through the steps that drop documents: how much memory one more of them takes.

`python -m tests.chaos.soak_memory [DOCUMENTS] [FEWER]`: real docstrings, repeated and perturbed, in shards of one size,
first FEWER of them, then all. Each step runs in processes of its own, two at a time where it goes shard by shard. The
peak of the smaller corpus is the fixed part; fails if a step takes more than 16 bytes beyond it for each document more.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

LIMIT = 16
"""Bytes for each document beyond the fixed part."""
SHARD = 100_000
"""Documents of a shard."""
WORDS = 40
"""Words of a document at most."""
PACKAGES = ("numpy", "pandas", "sklearn")
STAGES = ("write", "split", "clean", "sign", "cluster", "filter", "freeze", "contract")
OVER_ALL = ("cluster", "freeze", "contract")


def texts() -> list[str]:
    """Beginnings of the docstrings of installed packages, each once."""
    found: dict[str, None] = {}
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        for path in sorted(Path(str(spec.origin)).parent.rglob("*.py")) if spec else ():
            if "tests" in path.parts:
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                    words = (ast.get_docstring(node) or "").split()
                    if len(words) >= 12:
                        found[" ".join(words[:WORDS])] = None
    return list(found)


def write(folder: Path, shard: int, count: int) -> None:
    """One shard of documents: a text each, as it is or with up to three words put in the place of others."""
    import polars as pl

    from tasks.formats.documents import DOCUMENTS, GROUP, TableWriter

    known = json.loads((folder.parent / "texts.json").read_text())
    chance = random.Random(shard)
    with TableWriter(folder / f"{shard:04d}/docs.parquet", DOCUMENTS) as writer:
        for first in range(0, count, GROUP):
            made: dict[str, None] = {}
            while len(made) < min(GROUP, count - first):
                words = chance.choice(known).split()
                for _ in range(chance.randrange(4)):
                    words[chance.randrange(len(words))] = f"w{chance.randrange(10**6)}"
                made[" ".join(words)] = None
            ids = [hashlib.sha256(f"{shard} {first} {text}".encode()).hexdigest()[:32] for text in made]
            frame = {"id": ids, "text": list(made), "source": "soak", "uri": "soak", "licence": "any"}
            writer.add(pl.DataFrame({**frame, "label": None, "messages": None}, schema=DOCUMENTS))


def carry_out(stage: str, folder: Path, shards: Sequence[int], count: int) -> dict[str, Any]:
    """One stage over some shards (of `count` documents together), in this process; its peak, seconds and statistics."""
    if stage == "write":
        for shard in shards:
            write(folder, shard, min(SHARD, count - shard * SHARD))
        return {}
    from conf.schema.clean import AdmitConf, CleanConf, DedupConf, EvalsetConf
    from tasks.clean import steps
    from tasks.core.artifact import Artifact
    from tasks.core.workdir import Workdir

    def artifact(step: str, shard: int | str) -> Artifact:
        return Artifact(step, "", "", shard=f"{shard:04d}", root=folder / f"{step}-{shard:04d}")

    def work(step: str, shard: int | None = None) -> Workdir:
        made = Workdir(folder / (step if shard is None else f"{step}-{shard:04d}"))
        made.make()
        return made

    stats: dict[str, Any] = {}
    if stage == "cluster":
        signed, cleaned = (tuple(artifact(name, n) for n in shards) for name in ("sign", "clean"))
        stats = steps.cluster.function(signed, cleaned, None, DedupConf(), work("cluster"))
    elif stage == "freeze":
        filtered = tuple(artifact("filter", shard) for shard in shards)
        stats = steps.freeze_evalset.function(filtered, conf=EvalsetConf(), work=work("freeze"))
    elif stage == "contract":
        from tasks.validate import contract

        parts = [
            (str(n), part, folder / f"filter-{n:04d}/content/{part}/docs.parquet")
            for n in shards
            for part in ("train", "valid")
        ]
        stats = {"rows": int(contract.documents(parts)["rows"].sum())}
    else:
        for shard in shards:
            if stage == "split":
                (folder / f"{shard:04d}/content").mkdir()
                (folder / f"{shard:04d}/docs.parquet").rename(folder / f"{shard:04d}/content/docs.parquet")
                docs = Artifact("fetch", "", "", shard=f"{shard:04d}", root=folder / f"{shard:04d}")
                steps.split_shard.function(docs, (), None, AdmitConf(), work(stage, shard))
            elif stage == "clean":
                steps.clean_shard.function(artifact("split", shard), None, CleanConf(), work(stage, shard))
            elif stage == "sign":
                steps.sign_shard.function(artifact("clean", shard), DedupConf(), work(stage, shard))
            else:
                whole = Artifact("cluster", "", "", part_name=f"{shard:04d}", root=folder / "cluster")
                steps.filter_shard.function(artifact("clean", shard), whole, DedupConf(), work(stage, shard))
    return stats


def in_child(stage: str, folder: Path, shards: Sequence[int], count: int) -> dict[str, Any]:
    """`carry_out` in a process of its own."""
    command = [sys.executable, "-m", __spec__.name, stage, str(folder), json.dumps(list(shards)), str(count)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def peaks(folder: Path, count: int) -> dict[str, float]:
    """The largest peak of each stage in bytes; prints how long it took."""
    folder.mkdir()
    shards = range(-(-count // SHARD))
    found = {}
    for stage in STAGES:
        started = time.monotonic()
        groups = [shards] if stage in OVER_ALL else [shards[0::2], shards[1::2]]
        with ThreadPoolExecutor(2) as pool:
            jobs = [pool.submit(in_child, stage, folder, group, count) for group in groups if group]
            done = [job.result() for job in jobs]
        found[stage] = max(one["peak"] for one in done)
        seconds, processor = time.monotonic() - started, sum(one["seconds"] for one in done)
        print(
            f"{count:>11,} documents  {stage:<9} {seconds:7.1f} s  {count / processor:>9,.0f} a CPU-second  "
            f"peak {found[stage] / 1e6:6.0f} MB  {done[0]['stats'] or ''}",
            flush=True,
        )
    return found


def main(documents: int = 10_000_000, fewer: int = 1_000_000) -> None:
    """Compare the peaks of the two corpora; exits 1 if a step takes too much for each document more."""
    failed = False
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        (folder / "texts.json").write_text(json.dumps(texts()))
        fixed = peaks(folder / "fewer", fewer)
        peak = peaks(folder / "all", documents)
    for stage in STAGES[1:]:
        each = (peak[stage] - fixed[stage]) / (documents - fewer)
        failed |= each > LIMIT
        print(f"{stage:<9} fixed {fixed[stage] / 1e6:6.0f} MB, each document more {each:6.1f} bytes")
    print("too much for a document" if failed else f"at most {LIMIT} bytes for a document")
    sys.exit(1 if failed else 0)


def child(stage: str, folder: str, shards: str, count: str) -> None:
    """What `in_child` starts: prints the peak of this process's memory, its processor seconds, the statistics."""
    stats = carry_out(stage, Path(folder), json.loads(shards), int(count))
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(json.dumps({"peak": int(line.split()[1]) * 1024, "seconds": time.process_time(), "stats": stats}))


if __name__ == "__main__":
    if len(sys.argv) > 3:
        child(*sys.argv[1:])
    else:
        main(*(int(word) for word in sys.argv[1:]))
