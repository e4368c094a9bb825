"""Both trainers of `make bench-pretrain-quality` are looked at alike, and at the same places."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.pretrain.trainer.setup import make_trainer
from tasks.training.network.device import set_up
from tests.benchmarks.pretrain_quality import _looking, draw, trainer
from tests.tasks.pretrain.conftest import job_of, write_shards


def test_a_look_at_held_out_tokens_gives_what_training_itself_gives(tmp_path: Path) -> None:
    job = job_of(write_shards(tmp_path / "shards"), tmp_path / "work")
    there = make_trainer(job, set_up(job.conf.run))
    look = _looking(job, there.loss_module.model, bf16=False)
    losses = []
    for _ in range(3):
        losses.append(look())
        assert losses[-1] == pytest.approx(there.evaluate(), rel=1e-6)
        there.update()
    assert len(set(losses)) == 3


def test_the_other_trainer_has_the_same_budget_and_is_looked_at_after_its_last_step(tmp_path: Path) -> None:
    job = job_of(write_shards(tmp_path / "shards"), tmp_path / "work")
    curves = [trainer(job, rate=rate) for rate in (1e-6, 0.01)]
    assert [[tokens for tokens, _ in curve] for curve in curves] == [[20 * 128]] * 2
    assert curves[0][0][1] != curves[1][0][1], "the rate is the one that was given"
    draw({"one": curves[:1], "other": curves[1:]}, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes()[1:4] == b"PNG"
