"""Pretraining of small networks, killed five times each and stopped once, must end with the undisturbed weights.

`python -m tests.chaos.soak_pretrain [SEED]`: for each network and each way to spread it, one undisturbed run and one in
which training processes get SIGKILL at random steps, and with two of them one gets SIGSTOP. Prints a table; fails if
weights, the optimizer's state or the logged losses differ anywhere.
"""

from __future__ import annotations

import random
import signal
import sys
import tempfile
from itertools import product
from pathlib import Path
from typing import Any

from conf.schema.model import ModelConf, NetworkConf
from tasks.pretrain.pretrain_job import PretrainJob
from tests.tasks.pretrain import texts
from tests.tasks.pretrain.conftest import GPT2, LLAMA, NATIVE, job_of, write_shards
from tests.trainer_process import Body, curve, outcome

STEPS = 60
KILLS = 5
QWEN3 = ModelConf(architecture="qwen3", config={**LLAMA.config, "num_key_value_heads": 1, "head_dim": 8})
NETWORKS: dict[str, NetworkConf] = {
    "llama": LLAMA,
    "qwen3": QWEN3,
    "gpt2, dropout": GPT2,
    "native": NATIVE,
    "bert": texts.BERT,
    "t5": texts.T5,
}
SPREADS = [("ddp", 1), ("ddp", 2), ("fsdp", 2)]


def job_for(data: Path, work: Path, network: NetworkConf, run: dict[str, Any], steps: int = STEPS) -> PretrainJob:
    """A job of so many steps: over real text where words are hidden, which takes a tokenizer, else over numbers.

    `data` is a folder that this function fills once, `work` the job's own.
    """
    if isinstance(network, ModelConf) and network.resolved_objective != "causal":
        files = data / "texts"
        return texts.job(files if files.exists() else texts.write(files), work, network, tokens=steps * 512, run=run)
    files = data / "numbers"
    return job_of(files if files.exists() else write_shards(files), work, network, tokens=steps * 128, run=run)


def finish(job: PretrainJob) -> None:
    """Train without a disturbance; raises `RuntimeError` if that fails."""
    body = Body(job)
    errors = body.said()
    if body.process.returncode:
        raise RuntimeError(errors[-3000:])


def disturb(job: PretrainJob, chance: random.Random) -> None:
    """Train to the end through kills and, where one process would wait for another for ever, a stop."""
    body = Body(job)
    for goal in sorted(chance.sample(range(4, 46), KILLS)):
        _, *workers = body.reach(goal)
        chance.choice(workers).kill()
        body.replaced(workers)
    if job.conf.run.processes > 1:
        _, *workers = body.reach(chance.randint(50, 56))
        chance.choice(workers).send_signal(signal.SIGSTOP)
        body.replaced(workers)
    errors = body.said()
    if body.process.returncode:
        raise RuntimeError(errors[-3000:])


def main(seed: int | None = None) -> None:
    """Go through all networks and spreads; exits 1 if anything differs."""
    seed = seed if seed is not None else random.SystemRandom().randrange(10**6)
    print(f"seed {seed}\n\n| network | spread | processes | kills | stops | weights, optimizer | losses |", flush=True)
    print("|---|---|---|---|---|---|---|", flush=True)
    chance, wrong = random.Random(seed), 0
    with tempfile.TemporaryDirectory() as root:
        for number, (name, (parallel, processes)) in enumerate(product(NETWORKS, SPREADS)):
            run = {"processes": processes, "parallel": parallel, "checkpoint_steps": 7}
            patience = {"max_restarts": 50, "hang_timeout": 6.0}
            calm, wild = (
                job_for(Path(root), Path(root, f"{kind}-{number}"), NETWORKS[name], {**run, **patience})
                for kind in ("calm", "wild")
            )
            finish(calm)
            disturb(wild, chance)
            same = [outcome(calm) == outcome(wild), curve(calm) == curve(wild)]
            wrong += same.count(False)
            words = " | ".join("equal" if one else "DIFFER" for one in same)
            print(f"| {name} | {parallel} | {processes} | {KILLS} | {int(processes > 1)} | {words} |", flush=True)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
