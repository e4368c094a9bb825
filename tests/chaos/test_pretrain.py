"""The soak of pretraining, in pairs: each network by ddp and by fsdp."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.chaos.soak_pretrain import NETWORKS, job_for
from tests.preloaded import Preloaded
from tests.trainer_process import Body, curve, outcome

STEPS = 45
"""Many more than are waited for: a trainer must not have ended when it is to be killed."""
PAIRS = [
    ("llama", "fsdp", 2),
    ("qwen3", "ddp", 1),
    ("qwen3", "fsdp", 2),
    ("gpt2, dropout", "fsdp", 2),
    ("native", "ddp", 1),
    ("bert", "ddp", 1),
    ("bert", "fsdp", 2),
    ("t5", "ddp", 1),
    ("t5", "fsdp", 2),
]
"""The rest is in test_torchrun.py: gpt2 and llama by ddp, native by fsdp."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the texts and numbers are that networks are trained on."""
    return tmp_path_factory.mktemp("data")


@pytest.mark.parametrize(("name", "parallel", "processes"), PAIRS)
def test_a_killed_training_ends_with_the_undisturbed_weights_and_losses(
    loaded: Preloaded, data: Path, tmp_path: Path, name: str, parallel: str, processes: int
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    chance, run = random.Random(seed), {"processes": processes, "parallel": parallel, "checkpoint_steps": 7}
    whole, job = (job_for(data, tmp_path / kind, NETWORKS[name], run, STEPS) for kind in ("whole", "killed"))
    bodies = Body(whole, loaded), Body(job, loaded)
    _, *workers = bodies[1].reach(chance.randint(8, 14))
    chance.choice(workers).kill()
    for body in bodies:
        errors = body.said()
        assert body.process.returncode == 0, errors
    assert "starting all again from the checkpoint of step" in bodies[1].out()
    assert outcome(job) == outcome(whole)
    assert curve(job) == curve(whole)
