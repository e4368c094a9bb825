from __future__ import annotations

import json

import pytest

from tasks.core.errors import StepError
from tasks.training.trainer.rollback import Rollback


def walk(retreat: Rollback, skipped: str, first: int = 1) -> list[tuple[int, int]]:
    """Make steps, x for a skipped one; the returns (to, at)."""
    found = []
    for step, word in enumerate(skipped, first):
        point = retreat.judge(step, word == "x")
        if point is not None:
            retreat.went_back(point, step)
            found.append((point, step))
        retreat.due(step)
    return found


def begun(patience: int | None = 3, every: int = 4) -> Rollback:
    retreat = Rollback(patience, every)
    retreat.due(0)
    return retreat


@pytest.mark.parametrize(
    ("skipped", "returns"),
    [
        ("xx.xx.xx.xx", []),
        ("..xxx", [(0, 5)]),
        ("......xxx", [(4, 9)]),
        (".......xxx", [(4, 10)]),
        ("........xxx", [(8, 11)]),
        ("......xxx.xxx", [(4, 9), (9, 13)]),
        ("......xxx.......xxx", [(4, 9), (16, 19)]),
    ],
)
def test_it_goes_back_to_the_last_point_before_the_first_skipped_update(
    skipped: str, returns: list[tuple[int, int]]
) -> None:
    assert walk(begun(), skipped) == returns


def test_without_patience_it_never_goes_back_and_asks_for_no_checkpoints() -> None:
    retreat = begun(patience=None)
    assert walk(retreat, "x" * 50) == [] and retreat.points == []


def test_a_return_without_any_update_after_it_is_an_error_that_names_the_options() -> None:
    with pytest.raises(StepError, match="peak_lr"):
        walk(begun(), "....xxxxxx")


@pytest.mark.parametrize("kill", range(1, 19))
def test_a_state_read_back_from_json_goes_on_as_if_nothing_had_happened(kill: int) -> None:
    skipped = "......xxx.......xxx"
    calm, killed = begun(), begun()
    wanted = walk(calm, skipped)
    found = walk(killed, skipped[:kill])
    again = Rollback(3, 4)
    again.restore(json.loads(json.dumps(killed.state())))
    assert found + walk(again, skipped[kill:], first=kill + 1) == wanted
    assert again.state() == calm.state()
