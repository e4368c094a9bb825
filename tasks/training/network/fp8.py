"""Matrix products in fp8 by torchao, scaled tensor by tensor (Micikevicius et al., "FP8 formats for deep learning",
2022). It has not been run yet: it needs a GPU of compute capability 8.9 or more."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn

from tasks.core.errors import HostError

CAPABILITY = (8, 9)
MULTIPLE = 16
"""What the sizes of a matrix must be multiples of."""


def refuse_if_unable(device: torch.device, option: str) -> None:
    """Raise `HostError` for a GPU that does not compute in fp8; `option`: where a run's options stand."""
    if torch.cuda.get_device_capability(device) < CAPABILITY:
        raise HostError(
            f"{option}.precision=fp8 needs a GPU of compute capability 8.9 or more, and this is a "
            f"{torch.cuda.get_device_name(device)}: set {option}.precision=bf16"
        )


def convert(blocks: Iterable[nn.Module]) -> None:
    """Let the linear layers within a network's blocks multiply in fp8; weights stay as they are, and all else bf16."""
    from torchao.float8 import convert_to_float8_training

    for block in blocks:
        convert_to_float8_training(block, module_filter_fn=_fits)


def _fits(module: nn.Module, name: str) -> bool:
    return isinstance(module, nn.Linear) and not (module.in_features % MULTIPLE or module.out_features % MULTIPLE)
