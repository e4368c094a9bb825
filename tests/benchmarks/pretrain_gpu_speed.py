"""The speed of training on a GPU, here and by transformers' Trainer; items of `make bench-gpu`."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from conf.schema.model import NetworkConf
from tests.benchmarks.pretrain_gpu_items import DRY_LEN, SEQ_LEN, SIZES, job_of, say

WARM, MOST, SECONDS = 4, 12, 8.0
"""Steps before a measurement, at most so many in it, and about so long."""


def paced(step: Callable[[], object], tokens: int, dry: bool) -> float:
    """Tokens per second of `step`, which ends with a value on the CPU, after a few that are not counted."""
    for _ in range(1 if dry else WARM):
        step()
    began, done = time.perf_counter(), 0
    while done < (2 if dry else MOST) and time.perf_counter() - began < SECONDS:
        step()
        done += 1
    return done * tokens / (time.perf_counter() - began)


def rated(what: str, who: str, model: NetworkConf, vocabulary: int, length: int, speed: float) -> None:
    """Print a row of speed, with MFU and memory where there is a GPU."""
    import torch

    from tasks.pretrain.estimate import flops_per_token
    from tasks.training.planning.hardware import peak_flops

    cuda = torch.cuda.is_available()
    peak, flops = peak_flops(torch.cuda.get_device_name()) if cuda else None, flops_per_token(model, vocabulary, length)
    mfu = {"mfu": round(speed * flops / peak, 4)} if peak and flops else {}
    memory = {"memory_gb": round(torch.cuda.max_memory_allocated() / 1e9, 1)} if cuda else {}
    say(what, who, tokens_per_second=round(speed, 1), **mfu, **memory)


def forget() -> None:
    """Free what the measurement before has left on the device."""
    import torch

    gc.collect()
    torch._dynamo.reset()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def both_ways(name: str, dry: bool, measure: Callable[[bool, int], None], who: str) -> None:
    """Measure without and with compile, a dry run only without; what goes wrong with one way is a row."""
    for compiled in (False,) if dry else (False, True):
        trouble = in_smaller(measure, compiled, SIZES[name].micro_batch)
        if trouble:
            say(called(name, compiled, dry), who, said=f"failed: {trouble}")


def in_smaller(measure: Callable[[bool, int], None], compiled: bool, size: int) -> str | None:
    """Measure, in smaller passes where the device's memory does not do; what went wrong, None if nothing did."""
    from tasks.training.planning.out_of_memory import lacks_device_memory

    while True:
        try:
            measure(compiled, size)
            return None
        except Exception as error:
            if size == 1 or not lacks_device_memory(error):
                return f"{type(error).__name__}: {error}".replace("\n", " ")[:200]
        finally:
            forget()
        size //= 2


def called(name: str, compiled: bool, dry: bool) -> str:
    """What a row of speed is of."""
    return f"{name}, sequences of {DRY_LEN if dry else SEQ_LEN}, {'compiled' if compiled else 'not compiled'}"


def speed(name: str, folder: Path, dry: bool) -> None:
    """fromzero's step, as the loop makes it."""
    from tasks.pretrain.trainer.setup import make_trainer
    from tasks.training.network.device import set_up

    size, length = SIZES[name], DRY_LEN if dry else SEQ_LEN
    model, vocabulary = size.model(dry), size.vocabulary(dry)
    batch = (4 if dry else size.sequences) * length

    def measure(compiled: bool, micro_batch: int) -> None:
        run = {"device": "cpu" if dry else "cuda", "threads": 1, "compile": compiled, "micro_batch": micro_batch}
        segment = {"tokens": 100 * batch, "batch_tokens": batch, "seq_len": length, "peak_lr": 1e-4}
        train = {"random": [str(folder / f"random-{vocabulary}")]}
        job = job_of(folder, name, model, train, [], {"segment": segment, "run": run})
        trainer = make_trainer(job, set_up(job.conf.run))
        found = paced(trainer.update, batch, dry)
        rated(called(name, compiled, dry), "fromzero", model, vocabulary, length, found)

    both_ways(name, dry, measure, "fromzero")


def trainer(name: str, folder: Path, dry: bool) -> None:
    """transformers' Trainer on the same network and tokens, bf16 and fused AdamW."""
    import torch
    from transformers import AutoModelForCausalLM, Trainer, TrainerCallback, TrainingArguments

    from conf.model_size import as_transformers
    from tasks.training.network.model import config_of

    size, length = SIZES[name], DRY_LEN if dry else SEQ_LEN
    model, vocabulary = size.model(dry), size.vocabulary(dry)
    sequences = 4 if dry else size.sequences
    config = config_of(as_transformers(model), vocabulary, 0)
    tokens = np.fromfile(folder / f"random-{vocabulary}" / "tokens.bin", np.uint16).astype(np.int64)
    blocks = [{"input_ids": row, "labels": row} for row in tokens[: len(tokens) // length * length].reshape(-1, length)]

    def measure(compiled: bool, micro_batch: int) -> None:
        ends: list[float] = []
        warm, most = (1, 2) if dry else (WARM, MOST)

        class Timing(TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                ends.append(time.perf_counter())
                control.should_training_stop = len(ends) > warm and ends[-1] - ends[warm - 1] > SECONDS

        create: Any = AutoModelForCausalLM.from_config
        network = create(config, dtype=torch.float32, attn_implementation="sdpa")
        micro_batch = min(micro_batch, sequences)
        arguments = TrainingArguments(
            str(folder / f"work-trainer-{name}"), max_steps=warm + most, per_device_train_batch_size=micro_batch,
            gradient_accumulation_steps=sequences // micro_batch, bf16=not dry, use_cpu=dry, torch_compile=compiled,
            optim="adamw_torch_fused", report_to="none", disable_tqdm=True, save_strategy="no",
        )  # fmt: skip
        Trainer(network, arguments, train_dataset=blocks, callbacks=[Timing()]).train()
        found = (len(ends) - warm) * sequences * length / (ends[-1] - ends[warm - 1])
        rated(called(name, compiled, dry), "Trainer", model, vocabulary, length, found)

    both_ways(name, dry, measure, "Trainer")
