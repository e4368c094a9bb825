"""Options of pretraining: a chain of segments, each with its budget, schedule and mixture."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from conf.schema.base import Conf, RunConf
from conf.schema.model import ModelConf


class SegmentConf(Conf):
    """One stretch of training: a budget in tokens with a learning-rate schedule of its own."""

    tokens: int = Field(gt=0)
    """Budget in tokens, rounded down to whole batches (at least one)."""
    batch_tokens: int = Field(16_384, gt=0)
    """Tokens of one optimizer step over all processes; a multiple of seq_len."""
    seq_len: int = Field(256, ge=2)
    """Length of a packed sequence in tokens."""
    packing: Literal["concat", "best_fit"] = "concat"
    """concat: documents one after another, cut at the end of a sequence; best_fit: whole documents put together, with
    some padding (which counts towards the budget). Positions restart at each document in both."""
    peak_lr: float = Field(3e-3, gt=0)
    """Learning rate after warm-up, per optimizer step."""
    schedule: Literal["wsd", "cosine"] = "wsd"
    """wsd: warm-up, stable, linear decay; cosine: warm-up, then half a cosine."""
    warmup: float = Field(0.05, ge=0, le=1)
    """Share of the steps in which the rate rises linearly from 0."""
    decay: float = Field(0.3, ge=0, le=1)
    """Share of the steps, at the end, in which the rate falls linearly (wsd only)."""
    final_lr: float = Field(0.0, ge=0, le=1)
    """Rate at the end, as a share of peak_lr."""
    mixture: dict[str, float] | None = None
    """Weight of each source (the shard's name without its number); None takes all tokens alike."""
    epochs: dict[str, float] | None = None
    """In place of `mixture`: how often each source is read, 0.5 for half of it, with the documents that data.upsample
    repeats in each reading. The budget `tokens` may be less than that, and then reads as much less of each; more is
    refused before training."""
    export: Literal["last", "best"] = "last"
    """Which weights become the model: the last, or those of the checkpoint with the least valid loss."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.batch_tokens % self.seq_len:
            raise ValueError(f"batch_tokens={self.batch_tokens} is not a multiple of seq_len={self.seq_len}")
        if self.schedule == "wsd" and self.warmup + self.decay > 1:
            raise ValueError(f"warmup={self.warmup} and decay={self.decay} add up to more than 1")
        if self.mixture is not None and (not self.mixture or min(self.mixture.values()) <= 0):
            raise ValueError("mixture needs at least one source, and every weight above 0: leave unused sources out")
        if self.epochs is not None and (not self.epochs or min(self.epochs.values()) <= 0):
            raise ValueError("epochs needs at least one source, each read more than 0 times: leave unused sources out")
        if self.epochs is not None and self.mixture is not None:
            raise ValueError("mixture and epochs both say how much of each source is read: set one of them to null")
        return self

    @property
    def sequences(self) -> int:
        """Sequences in one optimizer step, over all processes."""
        return self.batch_tokens // self.seq_len

    @property
    def steps(self) -> int:
        """Optimizer steps that the budget pays for."""
        return max(1, self.tokens // self.batch_tokens)


class OptimizerConf(Conf):
    """AdamW and what guards it."""

    beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of the running mean of gradients, per step."""
    beta2: float = Field(0.95, ge=0, lt=1)
    """Decay of the running mean of squared gradients, per step."""
    eps: float = Field(1e-8, gt=0)
    """Added to the root of the second moment."""
    weight_decay: float = Field(0.1, ge=0)
    """Decoupled weight decay of matrices; vectors (norms, biases) have none."""
    clip: float = Field(1.0, gt=0)
    """Largest norm of the whole gradient."""
    z_loss: float = Field(0.0, ge=0)
    """Weight of the mean squared log-normaliser of the logits; 0 switches it off."""
    guard_window: int = Field(128, ge=4)
    """Steps that the spike guard remembers; it acts once so many have been seen."""
    guard_sigma: float = Field(6.0, gt=0)
    """Standard deviations above the mean at which loss or gradient norm count as a spike."""


class PretrainRun(RunConf):
    """How pretraining is run. On one device and number of processes the weights do not depend on it,
    but for threads, micro_batch, precision and compile, which change the rounding."""

    segment: str = "main"
    """The segment's name in logs."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto: cuda where there is one."""
    processes: int = Field(1, ge=1)
    """Training processes on this machine; one for each GPU."""
    threads: int = Field(2, ge=1)
    """CPU threads of each process."""
    parallel: Literal["auto", "ddp", "fsdp"] = "auto"
    """With several processes: whole copies (ddp) or shards (fsdp) of the weights; auto: fsdp on cuda, ddp on cpu."""
    micro_batch: int = Field(16, ge=1)
    """Sequences in one forward pass of one process; gradients are accumulated over the passes of a step."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 where the device computes in it (it is asked), else fp32."""
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


class PretrainConf(Conf):
    """What one pretraining step gets: the network, one segment and everything around it."""

    model: ModelConf
    """The network; a segment that starts from another must name the same one."""
    segment: SegmentConf
    """Budget, schedule and mixture."""
    optimizer: OptimizerConf = OptimizerConf()
    """AdamW and its guard."""
    seed: int = Field(0, ge=0)
    """Seed of the weights, of the order of the data and of dropout."""
    valid_every: int = Field(200, ge=1)
    """Optimizer steps between two looks at the valid tokens."""
    valid_tokens: int = Field(65_536, gt=0)
    """How many valid tokens are looked at, spread evenly over all."""
    run: PretrainRun = PretrainRun()
    """How it is run."""


class PretrainRecipe(Conf):
    """The chain of segments of a recipe; each starts from the weights and the optimizer of the one before."""

    segments: dict[str, SegmentConf] = Field(min_length=1)
    """Segments by name, in order."""
    optimizer: OptimizerConf = OptimizerConf()
    """AdamW and its guard."""
    seed: int = Field(0, ge=0)
    """Seed of the weights, of the order of the data and of dropout."""
    valid_every: int = Field(200, ge=1)
    """Optimizer steps between two looks at the valid tokens."""
    valid_tokens: int = Field(65_536, gt=0)
    """How many valid tokens are looked at, spread evenly over all."""
    run: PretrainRun = PretrainRun()
    """How it is run."""

    def chain(self, model: ModelConf) -> list[PretrainConf]:
        """One config for each segment, in order."""
        return [
            PretrainConf(
                model=model,
                segment=segment,
                optimizer=self.optimizer,
                seed=self.seed,
                valid_every=self.valid_every,
                valid_tokens=self.valid_tokens,
                run=self.run.model_copy(update={"segment": name}),
            )
            for name, segment in self.segments.items()
        ]
