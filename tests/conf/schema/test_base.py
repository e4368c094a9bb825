"""Options by their present names, in keys and in what is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import pytest
from pydantic import Field, ValidationError

from conf.compose import compose
from conf.schema.base import Conf, present_name
from conf.schema.model import NativeConf
from conf.schema.pretrain import OptimizerConf, PretrainConf
from conf.schema.recipe import Recipe
from conf.schema.validate import ExpectationConf


class Inner(Conf):
    wide: int = 1
    formerly: ClassVar[Mapping[str, str]] = {"wide": "broad"}


class Outer(Conf):
    inner: Inner = Inner()
    named: dict[str, Inner] = Field(default_factory=dict)
    listed: tuple[Inner, ...] = ()


def test_a_key_holds_the_name_that_an_option_had_first() -> None:
    conf = Outer(inner=Inner(wide=2), named={"wide": Inner(wide=3)}, listed=(Inner(),))
    assert conf.for_key() == {"inner": {"broad": 2}, "named": {"wide": {"broad": 3}}, "listed": [{"broad": 1}]}


def test_the_keys_of_what_was_made_before_the_renaming_hold() -> None:
    recipe = compose("demo")
    (segment,) = recipe.pretrain.chain(recipe.model)
    assert isinstance(segment, PretrainConf) and {"valid_every", "valid_tokens"} <= segment.for_key().keys()
    assert OptimizerConf(rollback_interval=300).for_key()["guard_back"] == 300
    assert "guard_back" not in OptimizerConf().for_key(), "it was added later than the rest"
    assert {"heads", "kv_heads", "inner"} <= NativeConf(depth=2).for_key().keys()
    assert "shrink_limit" in recipe.data.for_key()
    assert ExpectationConf(expectation="x", fix="y").for_key()["mend"] == "y"


@pytest.mark.parametrize("given", [{"inner": {"broad": 1}}, {"named": {"a": {"broad": 1}}}, {"listed": [{"broad": 1}]}])
def test_a_former_name_is_refused_wherever_it_stands(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="'broad' is now 'wide'"):
        Outer.model_validate(given)


@pytest.mark.parametrize(
    ("path", "root", "today"),
    [
        ("inner.broad", Outer, "inner.wide"),
        ("named.broad.broad", Outer, "named.broad.wide"),
        ("pretrain.valid_every", Recipe, "pretrain.eval_interval"),
        ("model.heads", Recipe, "model.num_heads"),
        ("pretrain.optimizer.clip", Recipe, "pretrain.optimizer.clip"),
        ("gone.for.good", Recipe, "gone.for.good"),
    ],
)
def test_what_an_older_run_wrote_is_shown_by_present_names(path: str, root: type[Conf], today: str) -> None:
    assert present_name(path, root) == today
