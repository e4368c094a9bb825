"""Pretraining on the CPU beside transformers' Trainer and litgpt: `make bench-pretrain`.

`python -m tests.benchmarks.pretrain FOLDER LITGPT`: FOLDER keeps the demo's corpus between calls, LITGPT is a Python
that has litgpt (infra/requirements-bench-pretrain.txt). The same llama, token files, batch, precision and number of
threads; each measurement is of a process of its own, in turns. Documents are kept apart here and not by the others.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from conf.compose import compose
from conf.schema.model import ModelConf
from tasks.training.cluster.torchrun import MALLOC
from tasks.training.network.device import has_bf16
from tests.benchmarks import pretrain_text

RESULTS = Path(__file__).parent / "results"
REPEATS, ROUNDS = 3, 5
"""Measurements of each figure, and of speed."""
SIZES = {"steps": 60, "skip": 12, "saves": 6, "save_every": 5}
"""Steps of a measurement of speed and how many of them come before it; checkpoints and the steps between them."""
OURS, PEERS = "fromzero", ("transformers", "litgpt")
VARIANTS = {"joined": "documents not kept apart, as the peers", "compiled": "run.compile=true"}
"""Other ways in which fromzero's speed is measured."""
Row = dict[str, Any]


def specify(folder: Path, sizes: dict[str, int]) -> None:
    """Write FOLDER/spec.json: what all trainers read."""
    import torch

    recipe = compose("demo")
    segment, model = recipe.pretrain.segments["main"], recipe.model
    assert isinstance(model, ModelConf)
    vocabulary = json.loads(next(folder.glob("*/train/meta.json")).read_text())
    special = {"bos_token_id": vocabulary["eos_id"], "eos_token_id": vocabulary["eos_id"], "rms_norm_eps": 1e-6}
    llama = {**model.config, **special, "vocab_size": vocabulary["vocab_size"], "tie_word_embeddings": True}
    spec = {
        **sizes, "seq_len": segment.seq_len, "batch": segment.sequences, "rate": segment.peak_lr, "threads": 1,
        "precision": "bf16" if has_bf16(torch.device("cpu")) else "fp32", "llama": llama,
        "files": sorted(str(path) for path in folder.glob("*/train/tokens.bin")),
    }  # fmt: skip
    (folder / "spec.json").write_text(json.dumps(spec, indent=1) + "\n")


def run(command: list[str], job: str, folder: Path) -> Row:
    """What a job said in its last line."""
    alone = {
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "CUDA_VISIBLE_DEVICES": "",
    }
    ours = MALLOC if "tests.benchmarks.pretrain_jobs" in command else {}  # as training sets it
    environ = {**os.environ, **alone, **ours, "BEGAN": str(time.time())}
    ran = subprocess.run([*command, job, str(folder)], env=environ, capture_output=True, text=True)
    if ran.returncode:
        raise SystemExit(f"{command} {job} failed:\n{ran.stderr[-3000:]}")
    found: Row = json.loads(ran.stdout.splitlines()[-1])
    said = {name: statistics.median(value) if name == "cpu" else value for name, value in found.items()}
    print(f"  {command[-1]} {job}: {said}", file=sys.stderr, flush=True)
    return found


def median(found: list[Row], name: str) -> float:
    """The median of one figure over repeats."""
    return float(statistics.median(one[name] for one in found))


def undisturbed(found: list[Row]) -> float:
    """CPU-seconds of a step: the lower quartile over all runs, as neighbours on the machine only ever add to it."""
    return statistics.quantiles([seconds for one in found for seconds in one["cpu"]], n=4)[0]


def compare(folder: Path, litgpt: str) -> Iterator[Row]:
    """A row for each figure and peer."""
    spec = json.loads((folder / "spec.json").read_text())
    tokens = spec["batch"] * spec["seq_len"]
    script = "tests/benchmarks/pretrain_peers.py"
    peers = {name: [litgpt if name == "litgpt" else sys.executable, script] for name in PEERS}
    ours = [sys.executable, "-m", "tests.benchmarks.pretrain_jobs"]
    jobs = [(OURS, ours, "speed"), *((name, peers[name], f"{name}_speed") for name in PEERS)]
    jobs += [(variant, ours, f"speed_{variant}") for variant in VARIANTS]
    fast: dict[str, list[Row]] = {name: [] for name, *_ in jobs}
    for _ in range(ROUNDS):
        for name, command, job in jobs:
            fast[name].append(run(command, job, folder))
    sizes = {one["parameters"] for found in fast.values() for one in found}
    if len(sizes) != 1:
        raise SystemExit(f"the networks differ in size: {sizes}")
    speeds = {name: tokens / undisturbed(found) for name, found in fast.items()}
    lives = [run(ours, "lives", folder) for _ in range(REPEATS)]
    stalls = {"in the background": run(ours, "stall", folder), "waited for": run(ours, "stall_waited", folder)}
    saved = {name: run(peers[name], f"{name}_stall", folder) for name in PEERS}
    resumed = {name: [run(peers[name], f"{name}_resume", folder) for _ in range(REPEATS)] for name in PEERS}
    more, less = (lambda mine, other: mine / other), (lambda mine, other: other / mine)
    for name in PEERS:
        yield row("training", speeds[OURS], speeds[name], name, "tokens per CPU-second", more)
        for variant, said in VARIANTS.items():
            yield row(f"training, {said}", speeds[variant], speeds[name], name, "tokens per CPU-second", more)
        first = median(lives, "first"), median(fast[name], "first")
        yield row("start to first step, torchrun included", *first, name, "s", less)
        again = median(lives, "resumed"), median(resumed[name], "first")
        yield row("start to first step after a checkpoint", *again, name, "s", less)
        for how, found in stalls.items():
            held = 1000 * found["stall"], 1000 * saved[name]["stall"]
            yield row(f"training held up by a checkpoint, {how}", *held, name, "ms", less)
        memory = median(fast[OURS], "peak_mb"), median(fast[name], "peak_mb")
        yield row("peak memory of the training process", *memory, name, "MB", less)


def row(what: str, ours: float, peer: float, name: str, unit: str, ratio: Callable[[float, float], float]) -> Row:
    """One row of the results; a ratio over 1 means that we are better."""
    digits = 2 if unit == "s" else None
    figures = {"ours": round(ours, digits), "peer": round(peer, digits), "ratio": round(ratio(ours, peer), 2)}
    return {"what": what, **figures, "peer_name": name, "unit": unit}


def table(rows: list[Row]) -> str:
    """Rows as a Markdown table."""
    lines = ["| what | fromzero | peer | ratio |", "|---|---|---|---|"]
    for one in rows:
        unit, peer = one["unit"], f"{one['peer_name']} {one['peer']:,}"
        lines.append(f"| {one['what']} | {one['ours']:,} {unit} | {peer} | {one['ratio']} |")
    return "\n".join(lines)


def main(folder: Path, litgpt: str) -> None:
    """Measure, print a table, write results/pretrain.json."""
    pretrain_text.make(folder)
    specify(folder, SIZES)
    about = {
        "device": f"{os.cpu_count()} cores, {platform.machine()}, one thread",
        "date": datetime.now(UTC).date().isoformat(),
    }
    rows = [{**found, **about} for found in compare(folder, litgpt)]
    (RESULTS / "pretrain.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(table(rows))


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), sys.argv[2])
