"""What options of training ask of the machine beyond its memory: no torch, so that a plan can ask too."""

from __future__ import annotations

from importlib.util import find_spec

from conf.schema.pretrain import PretrainRun
from conf.schema.train_run import TrainRun
from tasks.core.errors import ConfigError, HostError


def refuse_without(run: TrainRun, *, cuda: bool) -> None:
    """Raise `ConfigError` or `HostError` for an option that needs a GPU, the compiler or a package that is not here."""
    if run.activation_checkpointing == "budget" and not (cuda if run.compile is None else run.compile):
        raise ConfigError(
            f"{run.option}.activation_checkpointing=budget is the compiler's choice, and nothing is compiled here: set "
            f"{run.option}.compile=true, or {run.option}.activation_checkpointing=selective"
        )
    if run.precision != "fp8":
        return
    if not cuda:
        raise HostError(
            f"{run.option}.precision=fp8 needs a GPU of compute capability 8.9 or more (Ada, Hopper), and training "
            f"here is on the CPU: set {run.option}.precision=auto"
        )
    if find_spec("torchao") is None:
        raise HostError(
            f"{run.option}.precision=fp8 needs torchao: pip install '.[fp8]' (or pip install torchao), or set "
            f"{run.option}.precision=auto"
        )


def refuse_attention(run: PretrainRun, *, cuda: bool) -> None:
    """Raise `HostError` for a kind of attention that needs a GPU where there is none."""
    if run.attention in ("varlen", "flex") and not cuda:
        raise HostError(
            f"pretrain.run.attention={run.attention} needs a GPU, and training here is on the CPU: set "
            "pretrain.run.attention=auto"
        )
