from __future__ import annotations

from typing import Any

import pytest

from conf.schema.pretrain import PretrainRun
from tasks.core.errors import ConfigError, HostError
from tasks.training.network.device import set_up
from tasks.training.planning import requirements
from tasks.training.planning.requirements import refuse_attention, refuse_without


def test_a_budget_is_refused_where_nothing_is_compiled() -> None:
    run = PretrainRun(device="cpu", activation_checkpointing="budget")
    with pytest.raises(
        ConfigError, match=r"set pretrain\.run\.compile=true, or pretrain\.run\.activation_checkpointing=selective"
    ):
        set_up(run)
    refuse_without(run, cuda=True)
    refuse_without(run.model_copy(update={"compile": True}), cuda=False)
    with pytest.raises(ConfigError, match="compile=true"):
        refuse_without(run.model_copy(update={"compile": False}), cuda=True)


def test_fp8_is_refused_without_a_gpu_and_without_torchao(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HostError, match=r"compute capability 8\.9 .* set pretrain\.run\.precision=auto"):
        set_up(PretrainRun(device="cpu", precision="fp8"))
    there: dict[str, Any] = {"torchao": None}
    monkeypatch.setattr(requirements, "find_spec", there.get)
    with pytest.raises(HostError, match=r"pip install '\.\[fp8\]'"):
        refuse_without(PretrainRun(precision="fp8"), cuda=True)
    there["torchao"] = object()
    refuse_without(PretrainRun(precision="fp8"), cuda=True)
    with pytest.raises(ValueError, match="fp8 is not for tensor_parallel"):
        PretrainRun(precision="fp8", processes=2, tensor_parallel=2)


@pytest.mark.parametrize("kind", ["varlen", "flex"])
def test_attention_of_gpus_is_refused_without_one_and_where_bits_must_be_the_same(kind: str) -> None:
    run = PretrainRun.model_validate({"device": "cpu", "attention": kind})
    with pytest.raises(HostError, match=rf"attention={kind} needs a GPU.*set pretrain\.run\.attention=auto"):
        refuse_attention(run, cuda=False)
    refuse_attention(run, cuda=True)
    for option in ({"deterministic": True}, {"precision": "fp32"}):
        with pytest.raises(ValueError, match=f"attention={kind} is for bf16"):
            PretrainRun.model_validate({"attention": kind, **option})
