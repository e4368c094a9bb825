"""Replaying the journal says where a rollback goes."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tasks.register import journal
from tasks.register.journal import Champion


def entry(action: str, to: int | None, state: str = "done") -> dict[str, Any]:
    return {"action": action, "to": to, "state": state}


def champions(entries: list[dict[str, Any]]) -> list[int]:
    return [champion.version for champion in journal.champions(entries)]


def test_transitions_that_were_undone_or_only_begun_count_for_nothing() -> None:
    entries = [entry("promote", 1), entry("promote", 2, "undone"), entry("promote", 3, "begun")]
    assert champions(entries) == [1]


def test_a_champion_that_returned_goes_back_to_the_one_between() -> None:
    assert champions([entry("promote", 1), entry("promote", 2), entry("promote", 1)]) == [1, 2, 1]


def test_a_lost_alias_keeps_the_way_back() -> None:
    assert champions([entry("promote", 1), entry("moved outside the gate", None)]) == [1]


@given(st.lists(st.one_of(st.integers(1, 4), st.none()), max_size=30))
def test_each_rollback_undoes_exactly_the_last_promotion_that_stands(moves: list[int | None]) -> None:
    entries: list[dict[str, Any]] = []
    stack: list[int] = []
    for move in moves:
        if move is not None and stack[-1:] != [move]:
            entries.append(entry("promote", move))
            stack.append(move)
        elif move is None and len(stack) > 1:
            stack.pop()
            entries.append(entry("rollback", stack[-1]))
        assert champions(entries) == stack


def test_a_number_that_means_other_weights_now_is_another_champion() -> None:
    """A model that was deleted and registered anew counts its versions from 1 again."""
    old, new = (entry("promote", 1) | {"digest": digest} for digest in "ab")
    assert journal.champions([old, new]) == [Champion(1, "a"), Champion(1, "b")]
    back = entry("rollback", 2) | {"digest": "a"}
    assert journal.champions([old, new, back]) == [Champion(2, "a")], "the same weights under another number"
