"""The models of a recipe: what is refused before anything runs."""

from __future__ import annotations

import pytest

from conf.compose import compose
from conf.schema.evaluate import GateConf
from flows.models import check_gate
from tasks.core.errors import ConfigError


def test_a_gate_by_what_the_kind_does_not_measure_is_refused() -> None:
    for name, conf in compose("demo").models.items():
        check_gate(name, conf)
    conf = compose("demo").models["chat"].model_copy(update={"gate": GateConf(metric="bits_per_bite")})
    with pytest.raises(ConfigError, match=r"models\.chat\.gate\.metric=bits_per_bite: .*did you mean bits_per_byte"):
        check_gate("chat", conf)
    check_gate("chat", conf.model_copy(update={"register": None}))
