"""SIGKILL in the steps of the data's way: the same tokens in the end, and nothing finished is made twice."""

from __future__ import annotations

import random
from pathlib import Path

from conf.compose import compose
from flows.data import prepare
from tasks.core.step import interpreted_by
from tasks.core.store.local import LocalBackend
from tasks.core.store.store import Store
from tests.chaos.disturb import SHARDS, Disturbance, lose, many, tokens
from tests.in_process import InProcess


def test_kills_in_random_data_steps_change_no_token_and_nothing_finished_is_made_twice(
    prefect_url: str, tmp_path: Path
) -> None:
    """What is killed makes two shards of every step anew and finds the rest of twenty shards made."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    chance, house = random.Random(seed), many(tmp_path, prefect_url)
    with interpreted_by(InProcess(Store(LocalBackend(house.home / "store")), skip=("check_tokens",))):
        prepare(compose(str(house.recipe)))
    undisturbed = tokens(house)
    assert len(undisturbed) == SHARDS
    lose(house, chance, 2)
    house.forget("cluster")
    run = Disturbance(house, chance, pause=0.5)
    run.go(kills=5)
    assert tokens(house) == undisturbed
    assert run.killed.total() == 5
    house.whole()
