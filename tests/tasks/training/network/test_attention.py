"""The kinds of attention that GPUs have, wired up and compared on a CPU.

The varlen kernel does not exist here: SDPA, one document at a time, stands in for it. FlexAttention runs as its own
uncompiled reference.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import flex_attention, varlen

from conf.schema.model import ModelConf, NativeConf
from conf.schema.pretrain import PretrainRun
from tasks.core.errors import HostError
from tasks.formats.tokens import IGNORE
from tasks.training.network import attention
from tasks.training.network.attention import borders, choose, differs, hindrance, same_document, use
from tasks.training.network.device import Place, set_up
from tasks.training.network.model import LossModule, build, stored_as

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
WIDE = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
NETWORKS: dict[str, NativeConf | ModelConf] = {
    "native": NativeConf(depth=2, width=32, num_heads=4, num_kv_heads=2, intermediate_size=48),
    "llama": ModelConf(architecture="llama", config=WIDE | {"num_key_value_heads": 2}),
    "qwen3": ModelConf(architecture="qwen3", config=WIDE | {"num_key_value_heads": 2, "head_dim": 8}),
    "mistral": ModelConf(architecture="mistral", config=WIDE | {"num_key_value_heads": 2, "sliding_window": 5}),
    "gpt2": ModelConf(
        architecture="gpt2",
        config={"n_embd": 32, "n_layer": 2, "n_head": 4, "resid_pdrop": 0, "embd_pdrop": 0, "attn_pdrop": 0},
    ),
}
PACKED = torch.tensor([[*range(9), *range(12), *range(3)], [*range(5, 20), *range(9)]])
"""Positions of two rows of documents; the second begins within one."""


def one_document_at_a_time(q: Tensor, k: Tensor, v: Tensor, ends: Tensor, *_: Any, **options: Any) -> Tensor:
    """What `varlen_attn` is said to compute, of [tokens, heads, size]."""
    mixed, (left, right) = [], options["window_size"]
    assert right == 0
    for begin, end in zip(ends[:-1].tolist(), ends[1:].tolist(), strict=True):
        parts = (x[begin:end].transpose(0, 1)[None] for x in (q, k, v))
        seen = torch.ones(end - begin, end - begin, dtype=torch.bool).tril()
        seen = seen if left < 0 else seen.triu(-left)
        scale, grouped = options["scale"], options["enable_gqa"]
        mixed.append(F.scaled_dot_product_attention(*parts, attn_mask=seen, scale=scale, enable_gqa=grouped)[0])
    return torch.cat(mixed, 1).transpose(0, 1)


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both kinds on a CPU."""
    monkeypatch.setattr(varlen, "varlen_attn", one_document_at_a_time)
    monkeypatch.setattr(flex_attention, "_validate_device", lambda *_: None)  # on CPUs it refuses to train
    with torch.compiler.set_stance("force_eager"):
        yield


@pytest.fixture
def gpu() -> Place:
    """A place whose device says that it is a GPU."""
    return replace(set_up(PretrainRun(device="cpu")), device=torch.device("cuda"), deterministic=False)


def nats_and_gradients(network: Any) -> tuple[Tensor, list[Tensor]]:
    torch.manual_seed(1)
    ids = torch.randint(0, 64, PACKED.shape)
    labels = torch.where(torch.rand(PACKED.shape) < 0.1, IGNORE, ids.roll(-1, 1))
    loss_module = LossModule(network, z_loss=False)
    loss_module.train()
    nats, _ = loss_module(ids, PACKED, labels)
    return nats.detach(), list(torch.autograd.grad(nats, list(network.parameters())))


def test_borders_part_what_the_mask_parts_also_where_a_row_begins_within_a_document() -> None:
    rows = torch.tensor([[0, 1, 2, 0, 0, 1], [7, 8, 0, 1, 2, 3], [3, 4, 5, 6, 7, 8]])
    ends = borders(rows)
    assert ends.dtype == torch.int32 and ends.tolist() == [0, 3, 4, 6, 8, 12, 18]
    document = torch.repeat_interleave(torch.arange(len(ends) - 1), ends.diff()).view_as(rows)
    alike = (document[:, None, :, None] == document[:, None, None, :]).tril()
    assert torch.equal(alike, same_document(rows))


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize(
    ("name", "kind"), [pair for pair in product(NETWORKS, ("varlen", "flex")) if pair != ("native", "flex")]
)
def test_a_network_learns_the_same_whichever_attention_it_has(name: str, kind: str) -> None:
    network = build(NETWORKS[name], 64, 0, PACKED.shape[1], seed=3)
    stored = copy.deepcopy(stored_as(network).config.to_dict())
    wanted, gradients = nats_and_gradients(network)
    use(network, kind)
    nats, found = nats_and_gradients(network)
    torch.testing.assert_close(nats, wanted, rtol=1e-5, atol=0)
    for one, other in zip(found, gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)
    assert stored_as(network).config.to_dict() == stored


@pytest.mark.usefixtures("kernels")
@pytest.mark.parametrize("kind", ["varlen", "flex"])
def test_a_kind_is_taken_only_if_it_gives_what_sdpa_gives(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place = set_up(PretrainRun(device="cpu"))
    assert differs(kind, place, 4, 2, 8) is None

    def careless(*args: Any, **options: Any) -> Tensor:
        mixed = one_document_at_a_time(*args, **options)
        return torch.cat([mixed[:-1], mixed[:1]])

    monkeypatch.setattr(varlen, "varlen_attn", careless)
    monkeypatch.setattr(attention, "_flex", lambda _, q, k, v, *mask: ((q + k.mean() + v.mean()).transpose(1, 2), None))
    assert f"{kind} is wrong here" in str(differs(kind, place, 4, 2, 8))

    def broken(*_: Any, **__: Any) -> Tensor:
        raise RuntimeError("no kernel for this GPU")

    monkeypatch.setattr(varlen, "varlen_attn", broken)
    monkeypatch.setattr(attention, "_flex", broken)
    assert differs(kind, place, 4, 2, 8) == f"{kind} fails here: RuntimeError: no kernel for this GPU"


def wants(kind: str) -> PretrainRun:
    return PretrainRun.model_validate({"attention": kind})


def test_the_log_says_what_was_taken_and_why(gpu: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []
    monkeypatch.setattr(attention, "differs", lambda *args: asked.append(args))
    gpu = replace(gpu, precision=torch.bfloat16, tensor=2)
    native, llama = (build(NETWORKS[name], 64, 0, 16, seed=3) for name in ("native", "llama"))
    assert choose(native, gpu, wants("auto")) == "attention: varlen, nothing is computed across documents"
    assert native.model.by_borders and asked[-1] == ("varlen", gpu, 2, 1, 8)
    assert choose(llama, gpu, wants("sdpa")) == "attention: SDPA with a mask (as asked)"
    assert llama.config._attn_implementation == "sdpa"
    assert choose(llama, gpu, wants("flex")).startswith("attention: flex") and asked[-1] == ("flex", gpu, 2, 1, 8)
    assert llama.config._attn_implementation == "fromzero_flex"
    monkeypatch.setattr(attention, "differs", lambda *_: "varlen is wrong here")
    assert choose(llama, gpu, wants("auto")) == "attention: SDPA with a mask (varlen is wrong here)"
    with pytest.raises(HostError, match=r"attention=varlen cannot be used: varlen is wrong .* set .*attention=auto"):
        choose(llama, gpu, wants("varlen"))
    with pytest.raises(HostError, match="the native decoder has varlen"):
        choose(native, gpu, wants("flex"))


def test_what_hinders_is_known_without_a_try(gpu: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "differs", lambda *_: None)
    bf16 = replace(gpu, precision=torch.bfloat16)
    llama = build(NETWORKS["llama"], 64, 0, 16, seed=3)
    assert hindrance(llama, bf16, "varlen") is None
    for place in (replace(bf16, deterministic=True), replace(bf16, precision=torch.float32)):
        assert "bf16 on cuda, not deterministic" in str(hindrance(llama, place, "varlen"))
    mixtral = build(ModelConf(architecture="mixtral", config=WIDE | {"num_key_value_heads": 2}), 64, 0, 16, seed=3)
    assert hindrance(mixtral, bf16, "varlen") == "mixtral is not known to take it"
    dropping = build(ModelConf(architecture="gpt2", config={"n_embd": 32, "n_layer": 1, "n_head": 4}), 64, 0, 16, 3)
    assert "no dropout of attention" in str(hindrance(dropping, bf16, "varlen"))
