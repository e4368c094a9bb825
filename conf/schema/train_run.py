"""How every kind of training is run: nothing of it is in a key."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, Self

from pydantic import Field, model_validator

from conf.schema.base import RunConf
from conf.schema.resources import ResourcesConf


class TrainRun(RunConf, ABC):
    """How a training is run. On one device and number of processes the weights do not depend on it,
    but for threads, micro_batch, precision and compile, which change the rounding."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: cuda where there is one."""
    resources: ResourcesConf = ResourcesConf()
    """What it asks of the place where it runs."""
    processes: int = Field(1, ge=1)
    """Training processes on each machine; one for each GPU."""
    threads: int = Field(2, ge=1)
    """CPU threads of each process."""
    parallel: Literal["auto", "ddp", "fsdp"] = "auto"
    """With several processes: whole copies (ddp) or shards (fsdp) of the weights; auto: fsdp on cuda, and where
    shard_processes is set, else ddp."""
    shard_processes: int | None = Field(None, ge=1)
    """Processes that share one copy of the weights as shards, a divisor of those that read different sequences; the
    rest hold further copies (hybrid sharding; best the number of GPUs of one machine). None: all share one copy."""
    micro_batch: int = Field(16, ge=1)
    """Sequences in one forward pass of one process; gradients are accumulated over the passes of a step."""
    activation_checkpointing: Literal["none", "selective", "full", "budget"] = "none"
    """What the backward pass computes again in place of keeping it: full, all inside the network's layers (a third more
    work, least memory); selective, all but matrix products and attention. The weights are the same to the bit.
    budget: the compiler chooses, within checkpointing_budget; only where `compile` is on."""
    checkpointing_budget: float = Field(0.5, ge=0, le=1)
    """Share of the memory of `none` that `budget` may keep for the backward pass; 0: as full."""
    precision: Literal["auto", "fp32", "bf16", "fp8"] = "auto"
    """auto: bf16 where the device computes in it (it is asked), else fp32. fp8: bf16, with the matrix products within
    layers in fp8, on GPUs of compute capability 8.9 or more with torchao."""
    compile: bool | None = None
    """Compile each block of the network; None: on cuda only."""
    deterministic: bool | None = None
    """The same bits on every run; None: on cpu only, where it costs nothing."""
    malloc: bool = True
    """Let glibc keep freed memory (about 15 % faster on CPUs, with more memory)."""
    log_every: int = Field(10, ge=1)
    """Optimizer steps between two lines of progress and rows of metrics."""
    checkpoint_steps: int = Field(200, ge=1)
    """Optimizer steps between two checkpoints."""
    checkpoint_minutes: float = Field(5.0, gt=0)
    """Minutes after which a checkpoint is made all the same."""
    max_restarts: int = Field(3, ge=0)
    """How often training processes that died or hang are started again from the newest checkpoint, in one attempt."""
    hang_timeout: float | None = Field(300.0, gt=0)
    """Seconds in which a training process gets nothing done (no forward pass, no step) before all are taken to hang,
    and are killed and started again; counted from the first finished step on, and not while a checkpoint is waited for.
    None: never."""

    @property
    @abstractmethod
    def option(self) -> str:
        """Where these options stand in a recipe."""

    @property
    @abstractmethod
    def smaller(self) -> tuple[str, ...]:
        """What else takes less memory, beside these options."""

    @property
    def world(self) -> int:
        """Training processes on all machines."""
        return self.processes

    @property
    def readers(self) -> int:
        """Processes that read different sequences."""
        return self.world

    @model_validator(mode="after")
    def _shares(self) -> Self:
        if self.shard_processes is None:
            return self
        if self.parallel == "ddp":
            raise ValueError("shard_processes is not for parallel=ddp: set parallel=fsdp")
        if self.readers % self.shard_processes:
            raise ValueError(
                f"shard_processes={self.shard_processes} does not divide the {self.readers} processes that read "
                "different sequences: change one of them"
            )
        return self
