from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from conf.schema.model import ModelConf, NativeConf
from tasks.pretrain.pretrain_job import PretrainJob
from tasks.pretrain.trainer.setup import make_trainer
from tasks.training.network.device import set_up
from tests.tasks.pretrain.conftest import GPT2, LLAMA

MakeJob = Callable[..., PretrainJob]


class Products(TorchDispatchMode):
    """Counts matrix products."""

    count = 0

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += operation in (torch.ops.aten.mm.default, torch.ops.aten.addmm.default)
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "model", [LLAMA, GPT2, NativeConf(depth=2, width=16, num_heads=2)], ids=["llama", "gpt2", "native"]
)
def test_what_is_computed_again_takes_less_memory_and_changes_no_bit(
    model: ModelConf | NativeConf, make_job: MakeJob
) -> None:
    found: dict[str, tuple[list[float], dict[str, torch.Tensor]]] = {}
    kept: dict[str, int] = {}
    products: dict[str, int] = {}
    for mode in ("none", "selective", "full"):
        job = make_job(mode, model, run={"activation_checkpointing": mode})
        trainer = make_trainer(job, set_up(job.conf.run))
        sizes: list[int] = []

        def keep(value: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(value.untyped_storage().nbytes())
            return value

        def give(value: torch.Tensor) -> Any:
            return value

        with torch.autograd.graph.saved_tensors_hooks(keep, give), Products() as counted:
            losses = [trainer.update().loss for _ in range(3)]
        found[mode], kept[mode] = (losses, trainer.tensors()), sum(sizes)
        products[mode] = counted.count
    for losses, tensors in found.values():
        assert losses == found["none"][0]
        assert all(torch.equal(value, tensors[name]) for name, value in found["none"][1].items())
    assert kept["full"] < kept["none"]
    assert products["none"] == products["selective"] < products["full"]
