from __future__ import annotations

import pytest

from conf.schema.model import ModelConf, NativeConf
from tasks.core.errors import ConfigError
from tasks.training.planning.feasible import models, refuse_if_impossible, refuse_if_unattended


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"architecture": "bart", "objective": "span", "config": {"d_modl": 8}},
            "bart has no field 'd_modl'; did you mean d_model",
        ),
        (
            {"architecture": "brt", "objective": "masked"},
            "no 'brt' for model.objective=masked; did you mean bert",
        ),
        ({"architecture": "t5", "objective": "causal"}, "no 't5' for model.objective=causal"),
        ({"architecture": "bert", "config": {"hidden_size": 10, "num_attention_heads": 3}}, "10 is not a multiple of"),
        ({"architecture": "t5", "config": {"num_layers": -1}}, "num_layers must be a positive whole number"),
    ],
)
def test_a_network_that_cannot_be_is_refused_from_transformers_source(options: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        refuse_if_impossible(ModelConf.model_validate(options))


def test_every_objective_has_its_architectures() -> None:
    for conf in (ModelConf(), *(ModelConf(architecture=name) for name in ("mixtral", "bert", "roberta", "t5"))):
        refuse_if_impossible(conf)
        assert conf.architecture in models(conf.resolved_objective)
    refuse_if_impossible(ModelConf(architecture="t5", config={"d_model": 30, "num_heads": 4}))


def test_attention_that_the_network_cannot_have_is_refused_by_the_plan() -> None:
    gpt2 = {"architecture": "gpt2", "config": {"n_embd": 32, "n_head": 4}}
    for conf, kind, words in (
        (
            ModelConf(architecture="bert"),
            "varlen",
            "attention=varlen: it is for the native decoder and causal",
        ),
        (ModelConf(architecture="mixtral"), "flex", "attention=flex: it is for causal models of gpt2, llama"),
        (NativeConf(depth=2), "flex", "the native decoder has none"),
        (ModelConf.model_validate(gpt2), "varlen", "attn_pdrop is not 0 in model.config"),
        (ModelConf(config={"attention_dropout": 0.1}), "flex", "attention_dropout is not 0 in model.config"),
    ):
        with pytest.raises(ConfigError, match=rf"{words}.*set pretrain\.run\.attention=auto"):
            refuse_if_unattended(conf, kind)
        refuse_if_unattended(conf, "auto")
    refuse_if_unattended(NativeConf(depth=2), "varlen")
    refuse_if_unattended(ModelConf(), "flex")
