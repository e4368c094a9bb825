"""One item of `make bench-gpu`: `python -m tests.benchmarks.pretrain_gpu_items WHAT SIZE FOLDER [--dry]`.

It prints rows as JSON as they come. None of this has run on a GPU yet; --dry goes the same way on the CPU.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from conf.compose import compose
from conf.schema.model import ModelConf, NativeConf, NetworkConf
from conf.schema.pretrain import PretrainConf
from conf.schema.recipe import Recipe
from tasks.pretrain.pretrain_job import PretrainJob

TEXT = (
    "tokenizer=bpe_50k",
    "data.sources.packages.distributions=[torch,transformers,scipy,numpy,pandas,scikit-learn,matplotlib,mlflow,prefect,"
    "sqlalchemy,pydantic,networkx,numba,great-expectations,huggingface-hub]",
    "data.sources.chat.max_conversations=null",
)
"""The demo's text and more, with a vocabulary as large as GPT-2's."""
SEQ_LEN, DRY_LEN = 2048, 32
TINY = NativeConf(depth=2, width=16, num_heads=2)


def recipe_of(name: str) -> Recipe:
    """A recipe that names no text of its own."""
    return compose(name, ("data.sources.mine.paths=[none]",))


@dataclass(frozen=True)
class Size:
    """One network whose speed is measured."""

    recipe: str
    micro_batch: int
    sequences: int

    def model(self, dry: bool) -> NetworkConf:
        """The recipe's network, with positions for the sequences."""
        model = TINY if dry else recipe_of(self.recipe).model
        if isinstance(model, ModelConf):
            return model.model_copy(update={"config": {**model.config, "n_positions": SEQ_LEN}})
        return model

    def vocabulary(self, dry: bool) -> int:
        """Tokens in the vocabulary."""
        return 64 if dry else recipe_of(self.recipe).tokenizer.vocab_size


SIZES = {"124m": Size("gpt2_124m", 16, 64), "350m": Size("llama_350m", 8, 32), "1b": Size("llama_1b", 8, 32)}


def write_random(folder: Path, vocabulary: int, count: int) -> Path:
    """Random tokens as one document, unless they are there."""
    shard = folder / f"random-{vocabulary}"
    if not shard.exists():
        shard.mkdir()
        tokens = np.random.default_rng(0).integers(1, vocabulary, count).astype("<u2")
        tokens[-1] = 0
        tokens.tofile(shard / "tokens.bin")
        np.save(shard / "index.npy", np.array([0, count]))
        meta = {"dtype": "uint16", "vocab_size": vocabulary, "eos_id": 0, "documents": 1, "tokens": count}
        (shard / "meta.json").write_text(json.dumps(meta))
    return shard


def say(what: str, who: str, **figures: Any) -> None:
    """Print one row."""
    print(json.dumps({"what": what, "who": who, **figures}), flush=True)


def job_of(
    folder: Path, name: str, model: NetworkConf, train: dict[str, list[str]], valid: list[str], conf: dict[str, Any]
) -> PretrainJob:
    """A job in FOLDER/work-NAME, emptied; `conf` holds the options of `PretrainConf` but for the model."""
    root = folder / f"work-{name}"
    shutil.rmtree(root, ignore_errors=True)
    found = PretrainConf.model_validate({"model": model, **conf})
    job = PretrainJob(found, train, valid, str(folder / "text" / "tokenizer"), None, root=str(root))
    job.work.make()
    return job


def text_of(folder: Path) -> tuple[dict[str, list[str]], list[str]]:
    """Folders of training tokens by source, and of valid ones, of the text."""
    found = sorted(path.parent.parent for path in (folder / "text").glob("*/train/tokens.bin"))
    return {place.name: [str(place / "train")] for place in found}, [str(place / "valid") for place in found]


def curve(folder: Path, dry: bool) -> None:
    """gpt2_124m on real text, as the step trains it."""
    from tasks.training.cluster.torchrun import launch
    from tasks.views.prefect.plots import curve as draw
    from tasks.views.prefect.plots import read_rows

    if dry:
        segment: dict[str, Any] = {"seq_len": DRY_LEN, "batch_tokens": 128, "tokens": 10 * 128}
    else:
        segment = {"seq_len": 1024, "batch_tokens": 131_072, "tokens": 20_000_000, "peak_lr": 6e-4, "warmup": 0.05}
    run = {
        "device": "cpu" if dry else "cuda",
        "threads": 1,
        "micro_batch": 32,
        "log_every": 1,
        "checkpoint_steps": 10**6,
    }
    conf = {"segment": {**segment, "schedule": "cosine"}, "run": run, "eval_interval": 5 if dry else 15}
    job = job_of(folder, "curve", TINY if dry else recipe_of("gpt2_124m").model, *text_of(folder), conf)
    stats, rows = launch(job), read_rows(job.work.metrics_file)
    images = folder if dry else Path(__file__).parents[2] / "docs" / "images"
    draw(rows, "gpt2_124m on text of installed packages", images / "pretrain-gpu-curve.png")
    told = f"loss {rows[0]['loss']:.2f} to {rows[-1]['loss']:.2f}, held out {stats['valid_loss']:.2f}"
    figures = {"tokens_per_second": stats["tokens_per_second"], **({"mfu": stats["mfu"]} if stats["mfu"] else {})}
    points = [[row["tokens"], row["valid_loss"]] for row in rows if "valid_loss" in row]
    what = f"{'tiny' if dry else 'gpt2_124m'} on text, {stats['tokens']:,} tokens, start and compiling included"
    say(what, "fromzero", said=told, held_out=points, **figures)


def resume(folder: Path, dry: bool) -> None:
    """Killed in the middle and started again, deterministic: are weights and moments those of the undisturbed run?"""
    from tests.trainer_process import Body, outcome

    steps, batch = (24, 128) if dry else (60, 16_384)
    segment = {"seq_len": DRY_LEN if dry else 512, "batch_tokens": batch, "tokens": steps * batch}
    run = {
        "device": "cpu" if dry else "cuda",
        "threads": 1,
        "deterministic": True,
        "compile": False,
        "checkpoint_steps": 5,
    }
    conf = {"segment": segment, "run": {**run, "log_every": 1}}
    model, (train, _) = TINY if dry else NativeConf(depth=8), text_of(folder)
    whole, killed = (job_of(folder, name, model, train, [], conf) for name in ("whole", "killed"))
    for job in (whole, killed):
        body = Body(job)
        if job is killed:
            body.reach(steps // 2)[-1].kill()
        errors = body.said()
        if not (job.work.content / "model" / "model.safetensors").exists():
            raise RuntimeError(errors.strip().rpartition("\n")[2])
    same = outcome(whole) == outcome(killed)
    say("SIGKILL and resume, deterministic", "fromzero", said=f"weights and moments {'equal' if same else 'DIFFER'}")
    if not same:
        raise RuntimeError("the weights differ from those of the undisturbed run")


def main(what: str, size: str, folder: Path, dry: bool) -> None:
    """Carry out one item."""
    if what in ("speed", "trainer"):
        from tests.benchmarks import pretrain_gpu_speed

        getattr(pretrain_gpu_speed, what)(size, folder, dry)
    else:
        {"curve": curve, "resume": resume}[what](folder, dry)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), "--dry" in sys.argv)
    sys.stdout.flush()
    os._exit(0)
