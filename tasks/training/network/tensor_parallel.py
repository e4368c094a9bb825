"""Tensor parallelism (Shoeybi et al., "Megatron-LM", 2019): processes that compute each layer together.

Of two matrices in a row the first is cut by its outputs and the second by its inputs, so that each process has some of
the heads and of the inner width, and one sum makes the layer's output whole. Embeddings, norms and the output layer are
whole on each process.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from fnmatch import fnmatch
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, RowwiseParallel, SequenceParallel

from conf.schema.pretrain import PretrainConf
from tasks.core.errors import ConfigError
from tasks.training.network import native

HEADS_DIM = 2
"""Where the heads are in what is normalised by head: [batch, seq_len, heads, size]."""
STYLES: dict[str, Any] = {
    "colwise": ColwiseParallel,
    "rowwise": RowwiseParallel,
    "replicated_with_grad_allreduce": lambda: SequenceParallel(sequence_dim=HEADS_DIM, use_local_output=True),
}
"""transformers' names for how a module is cut, those that are made here."""
NATIVE = {
    **{f"layers.*.self_attn.{name}_proj": "colwise" for name in "qkv"},
    "layers.*.self_attn.o_proj": "rowwise",
    "layers.*.mlp.gate_proj": "colwise",
    "layers.*.mlp.up_proj": "colwise",
    "layers.*.mlp.down_proj": "rowwise",
}
"""The plan of the decoder of our own."""
NORMED = {f"layers.*.self_attn.{name}_norm": "replicated_with_grad_allreduce" for name in "qk"}


def plan_of(network: Any) -> dict[str, str]:
    """How the modules of a network without its head are cut, by patterns of their names; transformers' own plan."""
    if isinstance(network, native.Native):
        return NATIVE | (NORMED if network.conf.qk_norm else {})
    return dict(getattr(network.config, "base_model_tp_plan", None) or {})


def refuse_if_indivisible(network: Any, conf: PretrainConf) -> None:
    """Raise `ConfigError` for a network or an optimizer that cannot be cut for `run.tensor_parallel` processes."""
    parts = conf.run.tensor_parallel
    if parts == 1:
        return
    fix = "set pretrain.run.tensor_parallel=1"
    if conf.optimizer.kind == "muon":
        raise ConfigError(f"pretrain.optimizer.kind=muon needs whole matrices: {fix}, or pretrain.optimizer.kind=adamw")
    plan = plan_of(network)
    if not plan or (unknown := set(plan.values()) - STYLES.keys()):
        why = f"its plan has {sorted(unknown)}" if plan else "transformers has no plan for it"
        name = getattr(getattr(network, "config", None), "model_type", "native")
        raise ConfigError(f"a {name} cannot be cut into tensor-parallel parts ({why}): {fix}")
    for what, size in _sizes(network, plan).items():
        if size % parts:
            raise ConfigError(
                f"{what}={size} of the model is not a multiple of pretrain.run.tensor_parallel={parts}: {fix}"
            )


def _sizes(network: Any, plan: dict[str, str]) -> dict[str, int]:
    """What has to be divisible: the heads, and the sizes of the modules that are cut."""
    conf = network.conf if isinstance(network, native.Native) else network.config
    names = ("num_heads", "num_kv_heads", "num_attention_heads", "num_key_value_heads")
    sizes = {name: value for name in names if (value := getattr(conf, name, None)) is not None}
    for name, module in network.base_model.named_modules():
        style = next((style for pattern, style in plan.items() if fnmatch(name, pattern)), "")
        if isinstance(module, nn.Linear) and style in ("colwise", "rowwise"):
            sizes[name] = module.out_features if style == "colwise" else module.in_features
    return sizes


def cut(network: Any, mesh: Any) -> None:
    """Cut the layers of a network for the processes of a mesh of one dimension."""
    from torch.distributed.tensor.parallel import parallelize_module

    plan: dict[str, ParallelStyle] = {pattern: STYLES[style]() for pattern, style in plan_of(network).items()}
    parallelize_module(network.base_model, mesh, plan)


def by_mesh(parameters: Iterable[nn.Parameter]) -> list[list[nn.Parameter]]:
    """The parameters in groups that torch can compute on in one go: those of the same processes."""
    groups: defaultdict[Any, list[nn.Parameter]] = defaultdict(list)
    for parameter in parameters:
        groups[parameter.device_mesh if isinstance(parameter, DTensor) else None].append(parameter)
    return list(groups.values())


def whole_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Sum up gradients of which each process has a summand only, as of norms within heads."""
    for parameter in parameters:
        gradient, wanted = parameter.grad, getattr(parameter, "placements", None)
        if isinstance(gradient, DTensor) and gradient.placements != wanted:
            parameter.grad = gradient.redistribute(placements=wanted)


def norm_of(groups: Iterable[list[nn.Parameter]]) -> Tensor:
    """The norm of the whole gradient, the same on all processes."""
    norms = []
    for group in groups:
        norm = torch.nn.utils.get_total_norm([p.grad for p in group if p.grad is not None])
        norms.append(norm.full_tensor() if isinstance(norm, DTensor) else norm)
    return norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))
