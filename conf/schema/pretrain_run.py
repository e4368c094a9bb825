"""How pretraining is run: nothing of it is in a key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from conf.schema.base import RunConf
from conf.schema.resources import ResourcesConf


class PretrainRun(RunConf):
    """How pretraining is run. On one device and number of processes the weights do not depend on it,
    but for threads, micro_batch, precision, compile and attention, which change the rounding."""

    segment: str = "main"
    """The segment's name in logs."""
    elsewhere: bool = False
    """Its place is not this machine, whose memory and GPUs then say nothing of it; engine.places decides that."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: cuda where there is one."""
    resources: ResourcesConf = ResourcesConf()
    """What it asks of the place where it runs."""
    processes: int = Field(1, ge=1)
    """Training processes on each machine; one for each GPU."""
    nodes: int = Field(1, ge=1)
    """Machines that train together. This one runs the step; on each of the others `fromzero train-node` takes part,
    with the same FROMZERO_HOME on a file system that all share, or with the same bucket as its store."""
    rendezvous: str | None = Field(None, pattern=r"^[\w.-]+:\d{1,5}$")
    """HOST:PORT of this machine at which the other nodes meet it; None: its name (its address,
    if the name is localhost) and 29400."""
    rendezvous_timeout: float = Field(600.0, ge=1)
    """Seconds in which all nodes must be there at the start, and again after one was lost."""
    max_epochs: float | None = Field(4.0, gt=0)
    """How often training may read its data, or one source of a mixture, before the plan, the run and its report warn of
    it; None for never. Up to some four times repeats are worth almost as much as new text (Muennighoff et al. 2023)."""
    threads: int = Field(2, ge=1)
    """CPU threads of each process."""
    parallel: Literal["auto", "ddp", "fsdp"] = "auto"
    """With several processes: whole copies (ddp) or shards (fsdp) of the weights; auto: fsdp on cuda, and where one
    of the two options below is set, else ddp."""
    shard_processes: int | None = Field(None, ge=1)
    """Processes that share one copy of the weights as shards, a divisor of nodes * processes / tensor_parallel; the
    rest hold further copies (hybrid sharding; best the number of GPUs of one machine). None: all share one copy."""
    tensor_parallel: int = Field(1, ge=1)
    """Processes that compute each layer together on the same sequences, each with a part of its heads and of its inner
    width; a divisor of processes."""
    micro_batch: int = Field(16, ge=1)
    """Sequences in one forward pass of one process; gradients are accumulated over the passes of a step."""
    auto_micro_batch: bool = False
    """Before the first step, look for the largest micro_batch that fits (a power of two) and use it in place of
    `micro_batch`: on cuda by trying, on the CPU by the estimate and the memory that is free. It is kept with the
    checkpoints, for another one would round otherwise."""
    activation_checkpointing: Literal["none", "selective", "full", "budget"] = "none"
    """What the backward pass computes again in place of keeping it: full, all inside the network's layers (a third more
    work, least memory); selective, all but matrix products and attention. The weights are the same to the bit.
    budget: the compiler chooses, within checkpointing_budget; only where `compile` is on."""
    checkpointing_budget: float = Field(0.5, ge=0, le=1)
    """Share of the memory of `none` that `budget` may keep for the backward pass; 0: as full."""
    precision: Literal["auto", "fp32", "bf16", "fp8"] = "auto"
    """auto: bf16 where the device computes in it (it is asked), else fp32. fp8: bf16, with the matrix products within
    layers in fp8, on GPUs of compute capability 8.9 or more with torchao."""
    attention: Literal["auto", "sdpa", "varlen", "flex"] = "auto"
    """How packed documents are kept apart. sdpa: by a mask, on every device. varlen: by their borders, flex: by
    FlexAttention's blocks; both compute nothing across documents, on GPUs in bf16 and not deterministic. auto: varlen
    where it can be used and gives what sdpa gives (it is tried), else sdpa."""
    compile: bool | None = None
    """Compile each block of the network; None: on cuda only."""
    deterministic: bool | None = None
    """The same bits on every run; None: on cpu only, where it costs nothing."""
    malloc: bool = True
    """Let glibc keep freed memory (about 15 % faster on CPUs, with more memory)."""
    log_every: int = Field(10, ge=1)
    """Optimizer steps between two lines of progress and rows of metrics."""
    sample_every: int | None = Field(None, ge=1)
    """Optimizer steps between two looks at what the network writes after `sample_prompts` (causal models only), the
    likeliest token each time; None: none."""
    sample_prompts: tuple[str, ...] = ("", "The")
    """What it goes on with; an empty text is the beginning of a document."""
    sample_tokens: int = Field(40, ge=1)
    """Tokens that it writes each time; fewer where a document ends."""
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
    formerly: ClassVar[Mapping[str, str]] = {
        "activation_checkpointing": "recompute",
        "checkpointing_budget": "recompute_budget",
        "auto_micro_batch": "probe",
        "rendezvous_timeout": "node_seconds",
        "hang_timeout": "hang_seconds",
    }

    @model_validator(mode="after")
    def _attends(self) -> Self:
        if self.attention in ("varlen", "flex") and (self.deterministic or self.precision == "fp32"):
            raise ValueError(
                f"attention={self.attention} is for bf16, and not the same on every run: set attention=auto, or leave "
                "out deterministic=true and precision=fp32"
            )
        return self

    @property
    def world(self) -> int:
        """Training processes on all machines."""
        return self.nodes * self.processes

    @model_validator(mode="after")
    def _spreads(self) -> Self:
        together, shards = self.tensor_parallel, self.shard_processes
        if self.processes % together:
            raise ValueError(f"processes={self.processes} is not a multiple of tensor_parallel={together}: change one")
        if shards is not None and self.world // together % shards:
            raise ValueError(
                f"shard_processes={shards} does not divide nodes * processes / tensor_parallel="
                f"{self.world // together}: change one of them"
            )
        if self.parallel == "ddp" and (together > 1 or shards is not None):
            raise ValueError("shard_processes and tensor_parallel are not for parallel=ddp: set parallel=fsdp")
        if self.precision == "fp8" and together > 1:
            raise ValueError("precision=fp8 is not for tensor_parallel: set precision=bf16, or tensor_parallel=1")
        return self
