"""The optimizers, what each keeps for a parameter, and one update of all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from conf.schema.pretrain import OptimizerConf
from tasks.training.network.tensor_parallel import by_mesh

Named = Mapping[str, nn.Parameter]

_ADAM = ("exp_avg", "exp_avg_sq", "step")
KEPT: dict[str, tuple[str, ...]] = {
    "AdamW": _ADAM, "Adam": _ADAM, "SGD": ("momentum_buffer",), "Muon": ("momentum_buffer",),
}  # fmt: skip
"""What torch's optimizers keep for each parameter."""
SHARE = "share_of_rate"
"""Of a group of parameters: their rate as a share of the schedule's."""


@dataclass(frozen=True)
class Optimizer:
    """One or two of torch's optimizers that share the parameters of a network; they begin with moments of zero."""

    parts: tuple[torch.optim.Optimizer, ...]
    conf: OptimizerConf

    def moments(self, named: Named) -> dict[str, Tensor]:
        """The optimizers' tensors as NAME.exp_avg, NAME.momentum_buffer and the like; views, not copies."""
        state = {parameter: kept for part in self.parts for parameter, kept in part.state.items()}
        return {
            f"{name}.{key}": value
            for name, parameter in named.items()
            for key, value in state.get(parameter, {}).items()
        }

    def penalise(self, parameters: Iterable[nn.Parameter]) -> None:
        """Add the gradient of the penalty on matrices, l1·Σ|w|."""
        if not self.conf.l1:
            return
        with torch.no_grad():
            for parameter in parameters:
                if parameter.grad is not None and parameter.ndim >= 2:
                    parameter.grad.add_(parameter.sign(), alpha=self.conf.l1)

    def update(self, rate: float) -> None:
        """One update at learning rate `rate`."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = rate * group.get(SHARE, 1.0)
            part.step()

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for part in self.parts:
            part.zero_grad(set_to_none=True)


def make(
    named: Named,
    conf: OptimizerConf,
    looked_up: Callable[[], Iterable[nn.Parameter]] = tuple,
    rates: Mapping[str, float] | None = None,
) -> Optimizer:
    """The optimizer of `conf.kind`, its weight decay on matrices only.

    adamw: Loshchilov and Hutter 2019; adam: Kingma and Ba 2015; sgd: with Polyak's momentum; muon: Jordan et al. 2024
    on the matrices of hidden layers, its rate scaled so that it and the weight decay are those of AdamW (Liu et al.,
    "Muon is scalable for LLM training", 2025), AdamW on all else. `looked_up`: the embeddings and the output layer;
    `rates`: shares of the rate by the parameters' names, 1 where none is given.
    """
    rest = dict(named)
    parts: list[torch.optim.Optimizer] = []
    if conf.kind == "muon":
        others = {id(parameter) for parameter in looked_up()}
        hidden = {name: p for name, p in named.items() if p.ndim == 2 and id(p) not in others}
        rest = {name: p for name, p in named.items() if name not in hidden}
        options: dict[str, Any] = {"momentum": conf.momentum, "adjust_lr_fn": "match_rms_adamw"}
        if hidden:
            parts.append(torch.optim.Muon(list(hidden.values()), weight_decay=conf.weight_decay, **options))
    if rest:
        parts.append(_plain(rest, conf, rates or {}))
    for part in parts:
        for group in part.param_groups:
            for parameter in group["params"]:
                part.state[parameter] = _zeros(part, parameter, conf)
    return Optimizer(tuple(parts), conf)


def _plain(named: Named, conf: OptimizerConf, rates: Mapping[str, float]) -> torch.optim.Optimizer:
    alike: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for name, parameter in named.items():
        alike.setdefault((parameter.ndim < 2, rates.get(name, 1.0)), []).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": some, "weight_decay": 0.0 if is_vector else conf.weight_decay, SHARE: share}
        for (is_vector, share), parameters in sorted(alike.items(), key=lambda item: item[0])
        for some in by_mesh(parameters)
    ]
    if conf.kind == "sgd":
        return torch.optim.SGD(groups, momentum=conf.momentum, nesterov=conf.nesterov, fused=True)
    kind = torch.optim.Adam if conf.kind == "adam" else torch.optim.AdamW
    return kind(groups, betas=(conf.beta1, conf.beta2), eps=conf.eps, fused=True)


def _zeros(part: torch.optim.Optimizer, parameter: nn.Parameter, conf: OptimizerConf) -> dict[str, Tensor]:
    kept = KEPT[type(part).__name__]
    if isinstance(part, torch.optim.SGD) and not conf.momentum:
        return {}
    step = torch.zeros((), dtype=torch.float32, device=parameter.device)
    return {key: step if key == "step" else torch.zeros_like(parameter, requires_grad=False) for key in kept}
