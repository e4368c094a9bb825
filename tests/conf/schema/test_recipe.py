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


def test_a_model_that_is_trained_on_hidden_text_is_neither_released_nor_fine_tuned() -> None:
    options = ("model.architecture=bert", "tokenizer.mask_token='[MASK]'")
    with pytest.raises(ConfigError, match=r"release\.base, release\.chat, finetune\.chat.*release\.base=null"):
        compose("demo", options)
    recipe = compose("demo", (*options, "finetune=none", "release=none"))
    assert recipe.model.aim == "masked" and compose("demo").model.aim == "causal"


def test_options_of_noise_are_in_the_keys_of_those_only_who_set_them() -> None:
    plain = compose("demo")
    assert not {"objective", "noise"} & plain.model.for_key().keys()
    assert not {"mask_token", "sentinels"} & plain.tokenizer.for_key().keys()
    noisy = compose("demo", ("model.noise.share=0.3", "tokenizer.sentinels=9"))
    assert noisy.model.for_key()["noise"]["share"] == 0.3 and noisy.tokenizer.for_key()["sentinels"] == 9


def test_several_machines_need_a_folder_that_they_share() -> None:
    several = ("pretrain.run.nodes=2", "pretrain.run.processes=4")
    assert compose("demo", several).pretrain.run.world == 8
    with pytest.raises(ConfigError, match=r"pretrain.run.nodes=2: .* use store=local"):
        compose("demo", (*several, "store=s3", "store.bucket=models"))
    assert compose("demo", several).pretrain.for_key() == compose("demo").pretrain.for_key()
