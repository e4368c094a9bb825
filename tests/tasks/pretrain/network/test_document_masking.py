"""Networks asked whether documents are kept apart; those that tests vouch for here are not asked again in training."""

from __future__ import annotations

from typing import Any

import pytest

from conf.schema.model import ModelConf
from tasks.core.errors import ConfigError
from tasks.pretrain.network import document_masking
from tasks.training.network.model import build
from tests.tasks.pretrain.conftest import GPT2, LLAMA
from tests.tasks.pretrain.texts import BERT, ENCODER, MIXTRAL, ROBERTA, T5

SMALL = LLAMA.config
PROVEN = [
    *(LLAMA, GPT2, MIXTRAL, BERT, ROBERTA, T5),
    *(ModelConf(architecture=name, config={**SMALL, "num_key_value_heads": 2, "pad_token_id": 0})
      for name in ("qwen2", "qwen3", "mistral", "phi3")),
]  # fmt: skip


def network(conf: ModelConf) -> Any:
    return build(conf, 64, 0, 16, 0, None if conf.resolved_objective == "causal" else 1)


@pytest.mark.parametrize("conf", PROVEN, ids=lambda conf: conf.architecture)
def test_documents_are_kept_apart_and_nothing_is_seen_ahead_by(conf: ModelConf) -> None:
    assert document_masking.leaks(network(conf), conf) == (False, False)
    assert conf.architecture in document_masking.PROVEN[conf.resolved_objective]


def test_all_that_are_vouched_for_are_asked_here() -> None:
    vouched = {(aim, name) for aim, names in document_masking.PROVEN.items() for name in names}
    assert vouched == {(conf.resolved_objective, conf.architecture) for conf in PROVEN}


@pytest.mark.parametrize(
    ("conf", "words"),
    [
        (
            ModelConf(architecture="opt", config={"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
                                                  "ffn_dim": 32, "word_embed_proj_dim": 16}),
            "architecture=opt .*causal: documents in one sequence see each other",
        ),
        (BERT.model_copy(update={"objective": "causal"}), "architecture=bert .* see"),
        (ModelConf(architecture="mamba", config={"hidden_size": 16, "num_hidden_layers": 1}), "no 'mamba'"),
        (
            MIXTRAL.model_copy(update={"config": {**MIXTRAL.config, "output_router_logits": True}}),
            "the balance of experts is no part of the loss",
        ),
        (ModelConf(architecture="llama", config=SMALL, objective="masked"), "no 'llama' can be built"),
    ],
    ids=["opt", "bert", "mamba", "mixtral", "llama"],
)  # fmt: skip
def test_a_network_that_cannot_be_trained_is_refused_with_the_reason(conf: ModelConf, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        document_masking.refuse_if_leaking(network(conf), conf)


def test_a_forward_pass_that_fails_is_a_config_error_with_what_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    conf = ModelConf(architecture="distilbert", config={"dim": 16, "hidden_dim": 32, "n_layers": 1, "n_heads": 2})
    conf = conf.model_copy(update={"objective": "masked"})
    made = network(conf)
    document_masking.refuse_if_leaking(made, conf)
    del made.vocab_projector.weight
    with pytest.raises(ConfigError, match=r"distilbert .*a forward pass fails: AttributeError"):
        document_masking.refuse_if_leaking(made, conf)


@pytest.mark.parametrize("architecture", ["electra", "xlm-roberta"])
def test_other_encoders_are_asked_and_may_be_trained(architecture: str) -> None:
    conf = ModelConf(architecture=architecture, config=ENCODER, objective="masked")
    assert architecture not in document_masking.PROVEN["masked"]
    document_masking.refuse_if_leaking(network(conf), conf)
