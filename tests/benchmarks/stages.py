"""What each step of the data's way takes for 100 MB of text: `make bench-stages`, from which docs/cluster.md computes.

`python -m tests.benchmarks.stages FOLDER`: FOLDER keeps Debian's documentation between calls, nothing of which is
committed. The steps run one after another in this process: their own work, without processes to start and Prefect.
"""

from __future__ import annotations

import json
import platform
import resource
import sys
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import zstandard

from conf.compose import compose
from flows.data import prepare
from tasks.core.step import Call, interpreted_by
from tasks.core.store.local import LocalBackend
from tasks.core.store.store import Store
from tests.benchmarks import corpus
from tests.in_process import InProcess

RESULTS = Path(__file__).parent / "results" / "stages.json"
MB = 100


class Measured(InProcess):
    """Notes the CPU-seconds of each call's body and what it leaves in the store."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.cpu: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)

    def carry_out(self, calls: list[Call]) -> list[Any]:
        """The artifacts, as references without files."""
        before = _cpu()
        found = super().carry_out(calls)
        self.cpu[calls[0].step.name] += _cpu() - before
        self.calls[calls[0].step.name] += len(calls)
        return found


def _cpu() -> float:
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in spent)


def write_text(table: Path, file: Path) -> int:
    """The first 100 MB of the corpus as lines of JSON; returns how many bytes of text they have."""
    size = 0
    with zstandard.open(file, "wt") as lines:
        for text in pl.read_parquet(table, columns=["text"])["text"]:
            size += len(text.encode())
            lines.write(json.dumps({"text": text}) + "\n")
            if size >= MB * 1e6:
                break
    return size


def main(folder: Path) -> None:
    """Print the table and write results/stages.json."""
    table = corpus.make(folder / "debian")
    with TemporaryDirectory(dir=folder) as home:
        size = write_text(table, Path(home) / "text.jsonl.zst")
        given = [f"data.sources.mine.paths=[{home}/text.jsonl.zst]", "data.shard_mb=256", "tokenizer.vocab_size=16384"]
        recipe = compose("text", (*given, "data.evalset.max_documents=1000"))
        store = Store(LocalBackend(Path(home) / "store", Path(home)))
        for kept in (Store(LocalBackend(Path(home) / "first", Path(home))), store):  # the first loads libraries
            run = Measured(kept)
            with interpreted_by(run):
                prepare(recipe)
        rows = [_row(store, name, run, size) for name in run.cpu if run.cpu[name]]
    RESULTS.write_text(json.dumps(rows, indent=1) + "\n")
    for row in rows:
        speed = f"{row['cpu']:>8.2f} s  {row['ours']:>8.1f} MB/s"
        print(f"{row['what']:<22} {speed}  {row['mb_kept']:>8.1f} MB in {row['files']} files")


def _row(store: Store, name: str, run: Measured, size: int) -> dict[str, Any]:
    files = [path for path in (store.backend.root / name).rglob("*") if path.is_file()]
    cpu = run.cpu[name]
    return {
        "what": name, "ours": round(size / 1e6 / cpu, 1), "unit": "MB of text per CPU-second", "cpu": round(cpu, 2),
        "calls": run.calls[name], "mb_kept": round(sum(path.stat().st_size for path in files) / 1e6, 1),
        "files": len(files), "device": f"one core, {platform.machine()}", "date": datetime.now(UTC).date().isoformat(),
    }  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]))
