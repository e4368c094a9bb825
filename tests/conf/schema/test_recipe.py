"""What a recipe says of its sources."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from conf.compose import compose
from conf.schema.recipe import Recipe
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


def test_nothing_that_continues_text_is_made_of_a_model_that_is_trained_on_hidden_text() -> None:
    options = ("model.architecture=bert", "tokenizer.mask_token='[MASK]'")
    with pytest.raises(
        ConfigError, match=r"pretrained is masked.*set models\.base=null models\.chat=null models\.classifier=null"
    ):
        compose("demo", options)
    recipe = compose("demo", (*options, "models=none"))
    assert recipe.model.resolved_objective == "masked" and compose("demo").model.resolved_objective == "causal"


def test_options_of_noise_are_in_the_keys_of_those_only_who_set_them() -> None:
    plain = compose("demo")
    assert not {"objective", "noise"} & plain.model.for_key().keys()
    assert not {"mask_token", "sentinels"} & plain.tokenizer.for_key().keys()
    noisy = compose("demo", ("model.noise.share=0.3", "tokenizer.sentinels=9"))
    assert noisy.model.for_key()["noise"]["share"] == 0.3 and noisy.tokenizer.for_key()["sentinels"] == 9


@pytest.mark.parametrize("store", [(), ("store=s3", "store.bucket=models")])
def test_several_machines_train_what_one_trains_on_every_store(store: tuple[str, ...]) -> None:
    several = ("pretrain.run.nodes=2", "pretrain.run.processes=4", *store)
    assert compose("demo", several).pretrain.run.world == 8
    assert compose("demo", several).pretrain.for_key() == compose("demo").pretrain.for_key()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ("models.chat.start=classifier",),
            "models.classifier is of kind text_classification, and a model of kind chat",
        ),
        (("models.chat.start=clasifier",), "none of pretrain, base, classifier, .*did you mean classifier"),
        (("models.base.start=chat",), "these start from each other: base → chat → base"),
        (("models.chat.register.name=demo-base",), "models.base and models.chat are both registered as demo-base"),
        (("models.chat.register.primary=true",), "models.base and models.chat are both primary"),
        (("models.chat.data.sources=[chats]",), "names chats, which is no source here; there are: packages, chat"),
    ],
)
def test_models_that_contradict_each_other_are_refused(overrides: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        compose("demo", overrides)


@pytest.mark.parametrize("given", ["demo-talk", "{name: demo-talk}"])
def test_a_name_alone_registers_a_model(given: str) -> None:
    found = compose("demo", (f"models.chat.register={given}",)).models["chat"].register
    assert (found.name, found.primary) == ("demo-talk", False)


def test_two_models_of_one_kind_are_made_after_what_they_start_from() -> None:
    second = "models.other={kind: chat, start: chat, train: {epochs: 2}, register: demo-other}"
    recipe = compose("demo", (second,))
    assert list(recipe.in_order) == ["base", "chat", "classifier", "other"]
    assert (recipe.models["other"].training.epochs, recipe.models["chat"].training.epochs) == (2, 1)
    assert recipe.models["other"].training.run.model == "other"


FROM_ELSEWHERE = ("models.base=null", "models.classifier=null", "models.chat.start='models:/mine@champion'")


def test_only_what_something_starts_from_is_pretrained_and_told() -> None:
    for given in ((), ("models=none",)):
        recipe = compose("demo", given)
        assert recipe.pretrains and all(recipe.pretraining)
    recipe = compose("demo", FROM_ELSEWHERE)
    assert not recipe.pretrains and (recipe.tokenizer, recipe.model, recipe.pretrain) == (None, None, None)
    assert Recipe.model_validate(recipe.model_dump()) == recipe
    assert compose("depth", ("models.base.start='models:/mine@champion'", "data.sources.mine.paths=[a]")).model is None


@pytest.mark.parametrize(
    "override", ["pretrain.segments.main.tokens=9", "tokenizer.vocab_size=999", "model=gpt2_124m", "++pretrain.seed=1"]
)
def test_an_option_of_pretraining_that_nothing_starts_from_is_refused(override: str) -> None:
    with pytest.raises(ConfigError, match="nothing in this recipe starts from what it pretrains") as refused:
        compose("demo", (*FROM_ELSEWHERE, override))
    assert override in str(refused.value) and "models.NAME.start=pretrain" in str(refused.value)


@pytest.mark.parametrize(("option", "why"), [("tokenizer", "models.base starts"), ("model", "only pretrains")])
def test_pretraining_that_something_starts_from_cannot_be_left_out(option: str, why: str) -> None:
    given = compose("demo", ("models=none",) if "only" in why else ()).model_dump()
    with pytest.raises(ValidationError, match=f"{option} is null, and .*{why}"):
        Recipe.model_validate({**given, option: None})


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("finetune.chat.lora.rank=8", "models.chat.method.rank"),
        ("finetune.classify.epochs=8", "models.classifier.train.epochs"),
        ("evaluate.gates.lm.rule=superior", "models.base.gate.rule"),
        ("release.chat=null", "models.chat.register"),
        ("release.approval_hours=3", "approval.hours"),
        ("finetune=none", "models"),
    ],
)
def test_an_option_that_had_another_name_is_refused_with_the_present_one(old: str, new: str) -> None:
    with pytest.raises(ConfigError, match=rf"is now {new}"):
        compose("demo", (old,))


def test_a_file_with_options_of_before_is_refused_with_the_present_names(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: demo\nfinetune: {chat: {epochs: 2}}\n")
    with pytest.raises(ConfigError, match=r"finetune.*is now models"):
        compose(str(path))
