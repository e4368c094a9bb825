"""What a recipe says of its sources."""

from __future__ import annotations

import pytest

from conf.compose import compose
from tasks.core.errors import ConfigError

ALLOW = ("data.licences.allow=[MIT, 'BSD*']",)


def test_a_source_has_its_own_allowed_licences_or_those_of_all() -> None:
    data = compose("demo", (*ALLOW, "data.licences.by_source={chat: null}")).data
    assert data.admission("packages").licences == ("MIT", "BSD*")
    assert data.admission("chat").licences is None
    assert data.admission("chat") == compose("demo").data.admission("chat"), "its shards are not made again"


def test_licences_of_an_unknown_source_and_an_empty_list_are_refused() -> None:
    with pytest.raises(ConfigError, match="names chats, which is no source here; there are: packages, chat"):
        compose("demo", ("data.licences.by_source={chats: [MIT]}",))
    with pytest.raises(ConfigError, match=r"data\.licences\.allow: .*at least 1 item"):
        compose("demo", ("data.licences.allow=[]",))
