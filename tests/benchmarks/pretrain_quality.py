"""The demo's network after 3 million tokens, trained here and by transformers' Trainer: `make bench-pretrain-quality`.

`python -m tests.benchmarks.pretrain_quality FOLDER`: FOLDER keeps the demo's corpus and each finished training, which
is not made again. Both read the same packed blocks (documents kept apart), in batches of the same size, and are looked
at on the same held-out tokens by the same code. The Trainer has its own optimizer and schedule, at each of `RATES`.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from conf.compose import compose
from tasks.pretrain.pretrain_job import PretrainJob
from tasks.views.prefect.plots import LINES, drawn
from tests.benchmarks import pretrain_text

RESULTS = Path(__file__).parent / "results"
PICTURE = Path(__file__).parents[2] / "docs" / "images" / "pretrain-quality.png"
STEPS = 1465
"""Of 2,048 tokens each: 3,000,320 in all."""
LOOK = 100
"""Steps between two looks at the held-out tokens."""
SEEDS = (0, 1, 2)
RATES = {"Trainer, default rate 5e-5": 5e-5, "Trainer, rate 1e-3": 1e-3}
"""The Trainer's default, and a better one for this network: with 3e-3, which is ours, it ends at 3.90 on one seed."""
Curve = list[tuple[int, float]]


def job_of(folder: Path, name: str, seed: int, steps: int = STEPS) -> PretrainJob:
    """The demo's pretraining with this seed and budget, one thread, all valid tokens looked at."""
    recipe = compose("demo")
    conf = recipe.pretrain.chain(recipe.model)[0]
    segment = conf.segment.model_copy(update={"tokens": steps * conf.segment.batch_tokens})
    options = {"segment": segment, "seed": seed, "eval_interval": LOOK, "eval_tokens": 1 << 24}
    run = conf.run.model_copy(update={"threads": 1, "device": "cpu"})
    return pretrain_text.job(folder, folder / name, conf.model_copy(update={**options, "run": run}), held_out=True)


def ours(job: PretrainJob) -> Curve:
    """(tokens, held-out loss) at each look, trained here."""
    from tasks.training.cluster.torchrun import launch
    from tasks.views.prefect.plots import read_rows

    launch(job)
    return [(row["tokens"], row["valid_loss"]) for row in read_rows(job.work.metrics_file) if "valid_loss" in row]


def trainer(job: PretrainJob, rate: float) -> Curve:
    """The same of transformers' Trainer: its AdamW, its linear schedule, its order of the blocks."""
    import numpy as np
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from tasks.formats.tokens import IGNORE
    from tasks.pretrain.trainer.setup import EVERYTHING, open_training
    from tasks.training.network import model
    from tasks.training.network.device import has_bf16

    segment, bf16 = job.conf.segment, has_bf16(torch.device("cpu"))
    torch.set_num_threads(job.conf.run.threads)
    source = open_training(job)[EVERYTHING]
    file = source.files[0]
    network = model.build(job.conf.model, file.vocab_size, file.eos_id, segment.seq_len, job.conf.seed)
    network.config.use_cache = False
    look, curve = _looking(job, network, bf16), []

    class Blocks(torch.utils.data.Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return source.blocks

        def __getitem__(self, number: int) -> dict[str, Any]:
            ids, positions, labels = (part[0] for part in source.batch([number]))
            shifted = np.concatenate([[IGNORE], labels[:-1]])  # transformers shifts them back, and loses the last
            return {"input_ids": ids, "position_ids": positions, "labels": shifted}

    class Looking(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step % LOOK == 0 or state.global_step == segment.steps:
                curve.append((segment.tokens_after(state.global_step), look()))

    arguments = TrainingArguments(
        str(job.work.scratch), max_steps=segment.steps, per_device_train_batch_size=segment.sequences,
        seed=job.conf.seed, learning_rate=rate, use_cpu=True, bf16=bf16, report_to="none", disable_tqdm=True,
        save_strategy="no", remove_unused_columns=False,
    )  # fmt: skip
    Trainer(network, arguments, train_dataset=Blocks(), callbacks=[Looking()]).train()
    return curve


def _looking(job: PretrainJob, network: Any, bf16: bool) -> Callable[[], float]:
    """The held-out loss of a network, in nats per token, as `tasks.training.trainer.trainer` computes it."""
    import torch

    from tasks.formats.tokens import IGNORE
    from tasks.pretrain.trainer.setup import choose_valid
    from tasks.training.network.model import LossModule

    sources, picks = choose_valid(job)
    rows, size = sources[0].batch([block for _, block in picks]), job.conf.run.micro_batch
    loss_module, labelled = LossModule(network, z_loss=False), int((rows[-1] != IGNORE).sum())
    pieces = [[torch.from_numpy(part[at : at + size]) for part in rows] for at in range(0, len(rows[0]), size)]

    def look() -> float:
        loss_module.eval()
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            nats = sum(float(loss_module(*piece)[0]) for piece in pieces)
        loss_module.train()
        return nats / labelled

    return look


def trained(folder: Path, seed: int, rate: float | None) -> Curve:
    """The curve of one training in a process of its own, here or (with a rate) by the Trainer; made once."""
    kept = folder / "quality" / f"{'ours' if rate is None else f'trainer-{rate:g}'}-{seed}.json"
    if not kept.exists():
        command = [sys.executable, "-m", "tests.benchmarks.pretrain_quality", str(folder), str(kept), str(seed)]
        environ = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
        ran = subprocess.run([*command, str(rate or "ours")], env=environ, capture_output=True, text=True)
        if ran.returncode:
            raise SystemExit(f"{kept.stem} failed:\n{ran.stderr[-3000:]}")
        print(f"  {kept.stem}: {json.loads(kept.read_text())[-1]}", file=sys.stderr, flush=True)
    return [(tokens, loss) for tokens, loss in json.loads(kept.read_text())]


def child(folder: Path, kept: Path, seed: int, rate: str) -> None:
    """Train once and keep the curve."""
    kept.parent.mkdir(exist_ok=True)
    job = job_of(folder, f"work-{kept.stem}", seed)
    curve = ours(job) if rate == "ours" else trainer(job, float(rate))
    kept.write_text(json.dumps(curve) + "\n")


def draw(curves: dict[str, list[Curve]], path: Path) -> None:
    """All curves, those of one way to train in one style."""
    from tasks.views.palette import SERIES

    title = f"The demo's network, {len(SEEDS)} seeds each"
    with drawn(path, 6.4, 3.8, xlabel="million tokens", ylabel="held-out loss (nats per token)", title=title) as axes:
        for n, (name, found) in enumerate(curves.items()):
            for seed, curve in enumerate(found):
                millions = [tokens / 1e6 for tokens, _ in curve]
                losses, label = [loss for _, loss in curve], None if seed else name
                axes.plot(millions, losses, LINES[n], color=SERIES[n], linewidth=1.1, label=label)
        axes.legend()


def main(folder: Path) -> None:
    """Train, print a table, write results/pretrain_quality.json and the picture."""
    pretrain_text.make(folder)
    ways = {"fromzero": None, **RATES}
    curves = {name: [trained(folder, seed, way) for seed in SEEDS] for name, way in ways.items()}
    losses = {name: [round(curve[-1][1], 4) for curve in found] for name, found in curves.items()}
    mine, rows = losses.pop("fromzero"), []
    print("| held-out loss | fromzero | peer | by seed |\n|---|---|---|---|")
    for name, theirs in losses.items():
        here, there = statistics.mean(mine), statistics.mean(theirs)
        rows.append(
            {
                "what": f"held-out loss after {curves[name][0][-1][0]:,} tokens", "ours": round(here, 4),
                "peer": round(there, 4), "peer_name": name, "ratio": round(there / here, 3), "unit": "nats per token",
                "device": f"{os.cpu_count()} cores, {platform.machine()}", "date": datetime.now(UTC).date().isoformat(),
                "seeds": [mine, theirs],
            }
        )  # fmt: skip
        print(f"| {name} | {here:.4f} | {there:.4f} | {mine} and {theirs} |")
    (RESULTS / "pretrain_quality.json").write_text(json.dumps(rows, indent=1) + "\n")
    draw(curves, PICTURE)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        main(Path(sys.argv[1]).absolute())
    else:
        child(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
