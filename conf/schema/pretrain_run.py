"""How pretraining is run: nothing of it is in a key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from conf.schema.train_run import TrainRun


class PretrainRun(TrainRun):
    """How pretraining is run. On one device and number of processes the weights do not depend on it,
    but for threads, micro_batch, precision, compile and attention, which change the rounding."""

    segment: str = "main"
    """The segment's name in logs."""
    elsewhere: bool = False
    """Its place is not this machine, whose memory and GPUs then say nothing of it; engine.places decides that."""
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
    tensor_parallel: int = Field(1, ge=1)
    """Processes that compute each layer together on the same sequences, each with a part of its heads and of its inner
    width; a divisor of processes."""
    auto_micro_batch: bool = False
    """Before the first step, look for the largest micro_batch that fits (a power of two) and use it in place of
    `micro_batch`: on cuda by trying, on the CPU by the estimate and the memory that is free. It is kept with the
    checkpoints, for another one would round otherwise."""
    attention: Literal["auto", "sdpa", "varlen", "flex"] = "auto"
    """How packed documents are kept apart. sdpa: by a mask, on every device. varlen: by their borders, flex: by
    FlexAttention's blocks; both compute nothing across documents, on GPUs in bf16 and not deterministic. auto: varlen
    where it can be used and gives what sdpa gives (it is tried), else sdpa."""
    sample_every: int | None = Field(None, ge=1)
    """Optimizer steps between two looks at what the network writes after `sample_prompts` (causal models only), the
    likeliest token each time; None: none."""
    sample_prompts: tuple[str, ...] = ("", "The")
    """What it goes on with; an empty text is the beginning of a document."""
    sample_tokens: int = Field(40, ge=1)
    """Tokens that it writes each time; fewer where a document ends."""
    formerly: ClassVar[Mapping[str, str]] = {
        "activation_checkpointing": "recompute",
        "checkpointing_budget": "recompute_budget",
        "hang_timeout": "hang_seconds",
        "auto_micro_batch": "probe",
        "rendezvous_timeout": "node_seconds",
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
    def option(self) -> str:
        """Where these options stand in a recipe."""
        return "pretrain.run"

    @property
    def smaller(self) -> tuple[str, ...]:
        """What else takes less memory, beside these options."""
        return "a smaller pretrain.segments.NAME.seq_len", "a smaller model.config (hidden_size, num_hidden_layers)"

    @property
    def world(self) -> int:
        """Training processes on all machines."""
        return self.nodes * self.processes

    @property
    def readers(self) -> int:
        """Processes that read different sequences: those that compute each layer together read the same."""
        return self.world // self.tensor_parallel

    @model_validator(mode="after")
    def _spreads(self) -> Self:
        together = self.tensor_parallel
        if self.processes % together:
            raise ValueError(f"processes={self.processes} is not a multiple of tensor_parallel={together}: change one")
        if self.parallel == "ddp" and together > 1:
            raise ValueError("tensor_parallel is not for parallel=ddp: set parallel=fsdp")
        if self.precision == "fp8" and together > 1:
            raise ValueError("precision=fp8 is not for tensor_parallel: set precision=bf16, or tensor_parallel=1")
        return self
