"""AdamW, its groups and its moments."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from conf.schema.pretrain import OptimizerConf

MOMENTS = ("exp_avg", "exp_avg_sq", "step")


def make(named: Mapping[str, nn.Parameter], conf: OptimizerConf) -> torch.optim.AdamW:
    """Fused AdamW (Loshchilov and Hutter, 2019) with weight decay on matrices only, its moments set to zero."""
    matrices = [parameter for parameter in named.values() if parameter.ndim >= 2]
    vectors = [parameter for parameter in named.values() if parameter.ndim < 2]
    groups = [{"params": matrices, "weight_decay": conf.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(
        [group for group in groups if group["params"]], betas=(conf.beta1, conf.beta2), eps=conf.eps, fused=True
    )
    for parameter in named.values():
        optimizer.state[parameter] = {
            "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
            "exp_avg": torch.zeros_like(parameter, requires_grad=False),
            "exp_avg_sq": torch.zeros_like(parameter, requires_grad=False),
        }
    return optimizer


def moments(optimizer: torch.optim.AdamW, named: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """The optimizer's tensors as NAME.exp_avg, NAME.exp_avg_sq and NAME.step; views, not copies."""
    return {f"{name}.{key}": optimizer.state[parameter][key] for name, parameter in named.items() for key in MOMENTS}


def update(optimizer: torch.optim.AdamW, rate: float, skip: bool, device: torch.device) -> None:
    """One update at learning rate `rate`, or none at all: `found_inf` makes the fused kernel leave all as it is."""
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.found_inf = torch.tensor(float(skip), device=device)  # type: ignore[attr-defined]
    optimizer.step()
