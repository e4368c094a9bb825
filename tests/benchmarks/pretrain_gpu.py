"""Pretraining on one GPU, all of it in under 8 minutes, as one table: `make bench-gpu`.

`python -m tests.benchmarks.pretrain_gpu FOLDER [--dry]`: FOLDER keeps the text between calls; --dry goes the same way
with tiny networks on the CPU. Each item (tests/benchmarks/pretrain_gpu_items.py) is a process of its own that is ended
when its time is up; a row says what went wrong with it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from tasks.core.devices import shows_a_gpu
from tests.benchmarks import pretrain_text
from tests.benchmarks.pretrain_gpu_items import SIZES, TEXT, write_random
from tests.tasks.pretrain.conftest import write_shards

RESULTS = Path(__file__).parent / "results"
ALL = 460.0
"""Seconds after which no item goes on, but in a dry run."""
ITEMS = {
    "speed 1b": 80, "trainer 1b": 90, "resume": 70, "curve": 130,
    "speed 350m": 60, "trainer 350m": 80, "speed 124m": 50, "trainer 124m": 60,
}  # fmt: skip
"""Seconds that each may take, the ones that matter most first."""
DRY = {name: 600 for name in ("speed 1b", "trainer 1b", "resume", "curve")}
"""Items of a dry run, in which networks of all sizes are equally tiny."""
WHO = {"speed": "fromzero", "trainer": "Trainer"}
Row = dict[str, Any]


def prepare(folder: Path, dry: bool) -> None:
    """Random tokens for the speeds, and text: that of installed packages, in a dry run a handful of random words."""
    folder.mkdir(parents=True, exist_ok=True)
    if dry:
        if not (folder / "text").exists():
            write_shards(folder / "text")
    else:
        pretrain_text.make(folder / "text", *TEXT)
    for vocabulary in sorted({size.vocabulary(dry) for size in SIZES.values()}):
        write_random(folder, vocabulary, 100_000 if dry else 4_000_000)


def item(name: str, folder: Path, dry: bool, seconds: float) -> list[Row]:
    """The rows that an item has printed in its time, and one that says how it failed, if it did."""
    what, _, size = name.partition(" ")
    failed = {"what": f"{size or what}", "who": WHO.get(what, "fromzero")}
    if seconds < 1:
        return [{**failed, "said": "not begun: no time was left"}]
    command = [sys.executable, "-m", "tests.benchmarks.pretrain_gpu_items", what, size or "-", str(folder)]
    out, errors = folder / f"{what}{size}.out", folder / f"{what}{size}.errors"
    with out.open("wb") as output, errors.open("wb") as error:
        process = subprocess.Popen([*command, *(["--dry"] if dry else [])], stdout=output, stderr=error)
        try:
            code = process.wait(timeout=seconds)
            said = "" if code == 0 else errors.read_text(errors="replace").strip().rpartition("\n")[2][:200]
        except subprocess.TimeoutExpired:
            code, said = 1, f"ended after {seconds:.0f} s"
            for one in [*psutil.Process(process.pid).children(recursive=True), process]:
                one.kill()
            process.wait()
    lines = out.read_text(errors="replace").splitlines()
    rows = [json.loads(line) for line in lines if line.startswith('{"what"')]
    return rows if code == 0 else [*rows, {**failed, "said": f"failed: {said or f'exit code {code}'}"}]


def table(rows: list[Row]) -> str:
    """Rows as a Markdown table."""
    lines = ["| what | who | tokens/s | MFU | GPU memory | |", "|---|---|---|---|---|---|"]
    for one in rows:
        speed = f"{one['tokens_per_second']:,.0f}" if "tokens_per_second" in one else ""
        mfu = f"{100 * one['mfu']:.1f} %" if one.get("mfu") is not None else ""
        memory = f"{one['memory_gb']:.1f} GB" if one.get("memory_gb") is not None else ""
        lines.append(f"| {one['what']} | {one['who']} | {speed} | {mfu} | {memory} | {one.get('said', '')} |")
    return "\n".join(lines)


def compared(rows: list[Row], device: str) -> list[Row]:
    """The speeds in pairs, as all benchmarks here write them, then everything else."""
    about = {"device": device, "date": datetime.now(UTC).date().isoformat()}
    fast = {(one["what"], one["who"]): one for one in rows if "tokens_per_second" in one}
    pairs = []
    for (what, who), mine in fast.items():
        theirs = fast.get((what, "Trainer"))
        if who == "fromzero" and theirs:
            ours, peer = round(mine["tokens_per_second"]), round(theirs["tokens_per_second"])
            pair = {"what": what, "ours": ours, "peer": peer, "peer_name": "transformers", "unit": "tokens per second"}
            mfu = {"mfu": [mine.get("mfu"), theirs.get("mfu")]}
            pairs.append({**pair, "ratio": round(ours / peer, 2), **mfu, **about})
    return pairs + [{**one, **about} for one in rows]


def device_name(dry: bool) -> str:
    """The device in words."""
    if dry:
        return "cpu, dry run"
    from tasks.training.planning.hardware import first_gpu

    found = first_gpu()
    return found.name if found else "a GPU without nvidia-smi"


def main(folder: Path, dry: bool) -> list[Row]:
    """Go through all items, print the table, write results/pretrain_gpu.json (of a dry run into FOLDER)."""
    if not dry and not shows_a_gpu():
        raise SystemExit("this machine shows no GPU: run it on one that has, or with --dry on the CPU")
    began, rows = time.monotonic(), []
    prepare(folder, dry)
    for name, limit in (DRY if dry else ITEMS).items():
        spent = time.monotonic() - began
        rows += item(name, folder, dry, limit if dry else min(limit, ALL - spent))
        print(f"  {name}, {time.monotonic() - began - spent:.1f} s: {rows[-1]}", file=sys.stderr, flush=True)
    found = compared(rows, device_name(dry))
    where = folder if dry else RESULTS
    (where / "pretrain_gpu.json").write_text(json.dumps(found, indent=1) + "\n")
    print(f"{found[-1]['device']}, {found[-1]['date']}, {time.monotonic() - began:.0f} s\n\n{table(rows)}", flush=True)
    return rows


if __name__ == "__main__":
    os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    main(Path(sys.argv[1]).absolute(), "--dry" in sys.argv)
