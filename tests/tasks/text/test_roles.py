from __future__ import annotations

import pytest

from tasks.text import roles


@pytest.mark.parametrize(
    ("name", "meant"),
    [("human", "user"), ("gpt", "assistant"), ("Assistant", "assistant"), ("bot", "assistant"),
     (" Model ", "assistant"), ("USER", "user"), ("prompter", "user"),
     ("developer", "system"), ("observation", "tool")],
)  # fmt: skip
def test_a_role_has_one_name_whatever_wrote_it(name: str, meant: str) -> None:
    assert roles.role(name, {}) == meant


def test_a_role_that_is_not_known_is_refused_until_it_is_said_what_it_means() -> None:
    with pytest.raises(ValueError, match="the role 'Critic', which is not known"):
        roles.role("Critic", {})
    assert roles.role("Critic", {"critic": "user"}) == "user"
    assert roles.role("gpt", {"GPT": "critic"}) == "critic", "what a person says goes before what is usual"


def test_a_known_name_means_one_role() -> None:
    assert len(roles.ROLES) == sum(map(len, roles.NAMES.values()))
    assert all(roles.ROLES[role] == role for role in roles.NAMES)


@pytest.mark.parametrize("message", [{"role": "user", "content": "a"}, {"from": "user", "value": "a", "weight": 1}])
def test_a_turn_is_known_by_its_columns(message: dict[str, object]) -> None:
    assert roles.turn(message) == ("user", "a") and roles.is_conversation([message])


@pytest.mark.parametrize(
    "value", [[], "text", None, [{"role": "user"}], [{"from": "user", "value": 3}], [["user", "a"]]]
)
def test_what_lacks_a_column_is_no_conversation(value: object) -> None:
    assert not roles.is_conversation(value)
