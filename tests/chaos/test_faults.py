"""A short seeded choice of the faults of `make chaos`: kinds drawn anew with each seed, on a folder and in a bucket."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from tests import one_secret
from tests.chaos.conftest import SEED
from tests.chaos.faults import choice, inject
from tests.chaos.rig import Rig, rigged
from tests.chaos.strikes import KINDS
from tests.s3_server import S3Server

COUNT = 4
PLACES = ("local", "bucket")


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder = tmp_path_factory.mktemp("rig")
    with pytest.MonkeyPatch.context() as patched:
        for name, value in {**S3Server(folder).env, **one_secret.PREFECT}.items():
            patched.setenv(name, value)
        with rigged(folder) as made:
            yield made


def test_after_a_fault_at_most_one_more_command_ends_as_if_undisturbed_and_nothing_is_left(rig: Rig) -> None:
    chance = random.Random(f"{SEED} faults")
    here = [kind for kind in KINDS if {*kind.places} & {*PLACES} and "toy" in kind.flows]
    quick = [kind for kind in here if not (kind.long or kind.clock)]
    for kind, place, flow in choice(COUNT, chance, quick, PLACES, ("toy",)):
        fate = inject(rig, kind, place, flow, chance)
        assert fate.end != "failed", fate
