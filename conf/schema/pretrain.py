"""Options of pretraining: a chain of segments, each with its budget, schedule and mixture."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from conf.schema.base import Conf, RunConf
from conf.schema.model import NetworkConf
from conf.schema.pretrain_run import PretrainRun as PretrainRun

START = re.compile(r"models:/[^/@\s]+(@[^/@\s]+|/\d+)|store:\w+/[0-9a-f]+")


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
    schedule: Literal["wsd", "cosine", "linear"] = "wsd"
    """wsd: warm-up, stable, linear decay; cosine: warm-up, then half a cosine; linear: warm-up, then falling to the
    end."""
    warmup: float = Field(0.05, ge=0, le=1)
    """Share of the steps in which the rate rises linearly from 0."""
    decay: float = Field(0.3, ge=0, le=1)
    """Share of the steps, at the end, in which the rate falls linearly (wsd only)."""
    final_lr: float = Field(0.0, ge=0, le=1)
    """Rate at the end, as a share of peak_lr."""
    mixture: dict[str, float] | None = None
    """Weight of each source (the shard's name without its number), met over batches to within one sequence, however
    light a source is; None takes all tokens alike."""
    epochs: dict[str, float] | None = None
    """In place of `mixture`: how often each source is read, 0.5 for half of it, with the documents that data.upsample
    repeats in each reading. The budget `tokens` may be less than that, and then reads as much less of each; more is
    refused before training."""
    export: Literal["last", "best"] = "last"
    """Which weights become the model: the last, or those of the checkpoint with the least valid loss."""
    first_batch_tokens: int | None = Field(None, gt=0)
    """Tokens of the first optimizer steps, a divisor of batch_tokens and a multiple of seq_len: the batch grows by as
    many at a time, each size for an equal part of `ramp`. None: all batches have batch_tokens."""
    ramp: float = Field(0.1, gt=0, le=1)
    """Share of the budget in which the batch grows, where first_batch_tokens is set."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Share of each label that is spread over the vocabulary in training's loss (Szegedy et al. 2016)."""
    ema: float | None = Field(None, gt=0, lt=1)
    """Decay, per step, of an exponential moving average of the weights, which then is what is looked at on valid tokens
    and becomes the model; a segment that follows starts from it. None: the weights themselves."""
    patience: int | None = Field(None, ge=1)
    """Stop before the budget is used up after so many looks at the valid tokens in a row without a lower loss; None:
    never. `export: best` takes the weights of the lowest."""
    start: str | None = None
    """Of the first segment: what it goes on from, models:/NAME@ALIAS, models:/NAME/VERSION or store:STEP/KEY, with the
    same network and tokenizer; None: new weights. What it means is looked up by every run, and its digest is in the key
    in place of the name."""
    later: ClassVar[frozenset[str]] = frozenset(
        {"first_batch_tokens", "ramp", "label_smoothing", "ema", "patience", "start"}
    )

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
        if self.start is not None and not START.fullmatch(self.start):
            raise ValueError(f"start={self.start} must be models:/NAME@ALIAS, models:/NAME/VERSION or store:STEP/KEY")
        first = self.first_batch_tokens
        if first is not None and (self.batch_tokens % first or first % self.seq_len):
            raise ValueError(
                f"first_batch_tokens={first} must divide batch_tokens={self.batch_tokens} and be a multiple of "
                f"seq_len={self.seq_len}"
            )
        return self

    @property
    def sequences(self) -> int:
        """Sequences in one of the smallest steps, over all processes: those of all steps without a ramp."""
        return (self.first_batch_tokens or self.batch_tokens) // self.seq_len

    @property
    def steps(self) -> int:
        """Optimizer steps that the budget pays for."""
        growing = self.growth
        spent = sum((size + 1) * count for size, count in enumerate(growing)) * self.sequences * self.seq_len
        return max(1, sum(growing) + max(0, self.tokens - spent) // self.batch_tokens)

    @property
    def growth(self) -> tuple[int, ...]:
        """How many steps have once, twice, … the sequences of the smallest one, before all have batch_tokens."""
        if self.first_batch_tokens is None:
            return ()
        sizes = range(1, self.batch_tokens // self.first_batch_tokens)
        each = self.ramp * self.tokens / max(1, len(sizes))
        return tuple(max(1, round(each / (size * self.first_batch_tokens))) for size in sizes)

    def units(self, step: int) -> int:
        """How many of the smallest steps the first `step` steps come to."""
        done, taken = 0, 0
        for size, count in enumerate(self.growth, 1):
            some = min(count, step - taken)
            done, taken = done + some * size, taken + some
        return done + (step - taken) * (self.batch_tokens // (self.first_batch_tokens or self.batch_tokens))

    def tokens_after(self, step: int) -> int:
        """Tokens that the first `step` steps read."""
        return self.units(step) * self.sequences * self.seq_len


class OptimizerConf(Conf):
    """The optimizer and what guards it."""

    kind: Literal["adamw", "adam", "sgd", "muon"] = "adamw"
    """adamw, adam, sgd, or muon for the matrices of hidden layers with adamw for everything else, at one rate."""
    beta1: float = Field(0.9, ge=0, lt=1)
    """Decay of the running mean of gradients, per step."""
    beta2: float = Field(0.95, ge=0, lt=1)
    """Decay of the running mean of squared gradients, per step."""
    eps: float = Field(1e-8, gt=0)
    """Added to the root of the second moment."""
    weight_decay: float = Field(0.1, ge=0)
    """Weight decay of matrices; vectors (norms, biases) have none. Decoupled with adamw and muon; adam and sgd add it
    to the gradient, an L2 penalty (there 1e-4 is usual)."""
    momentum: float = Field(0.95, ge=0, lt=1)
    """Momentum of sgd and muon, per step; 0 switches it off (sgd)."""
    nesterov: bool = False
    """Nesterov's momentum (sgd; muon always has it)."""
    l1: float = Field(0.0, ge=0)
    """Weight of the sum of the absolute values of matrices, added to the loss."""
    clip: float = Field(1.0, gt=0)
    """Largest norm of the whole gradient."""
    z_loss: float = Field(0.0, ge=0)
    """Weight of the mean squared log-normaliser of the logits; 0 switches it off."""
    guard_window: int = Field(128, ge=4)
    """Steps that the spike guard remembers; it acts once so many have been seen."""
    guard_sigma: float = Field(6.0, gt=0)
    """Standard deviations above the mean at which loss or gradient norm count as a spike."""
    guard_patience: int | None = Field(None, ge=1)
    """Skipped updates in a row after which training takes back the weights and moments of an earlier checkpoint, and
    goes on with the data that follow: the steps in between are not made again. None: never."""
    rollback_interval: int = Field(200, ge=1)
    """Steps between the checkpoints that `guard_patience` goes back to, counted from 0; the last one before the first
    skipped update is taken. At least guard_patience."""
    later: ClassVar[frozenset[str]] = frozenset(
        {"kind", "momentum", "nesterov", "l1", "guard_patience", "rollback_interval"}
    )
    formerly: ClassVar[Mapping[str, str]] = {"rollback_interval": "guard_back"}

    @model_validator(mode="after")
    def _suits_the_kind(self) -> Self:
        if self.nesterov and not (self.kind == "sgd" and self.momentum):
            raise ValueError("nesterov is for kind=sgd with a momentum above 0: leave it out")
        if self.guard_patience is not None and self.guard_patience > self.rollback_interval:
            raise ValueError(
                f"guard_patience={self.guard_patience} exceeds rollback_interval={self.rollback_interval}: raise it"
            )
        return self


class Earlier(RunConf):
    """What came before a segment: what is warned of depends on it, what is learnt is in the artifact that it starts
    from."""

    segments: tuple[SegmentConf, ...] = ()
    """The segments before it, in order."""


EVALUATING = {"eval_interval": "valid_every", "eval_tokens": "valid_tokens"}
"""What two fields of the next two were called before."""


class PretrainConf(Conf):
    """What one pretraining step gets: the network, one segment and everything around it."""

    model: NetworkConf
    """The network; a segment that starts from another must name the same one."""
    segment: SegmentConf
    """Budget, schedule and mixture."""
    optimizer: OptimizerConf = OptimizerConf()
    """The optimizer and its guard."""
    seed: int = Field(0, ge=0)
    """Seed of the weights, of the order of the data and of dropout."""
    eval_interval: int = Field(200, ge=1)
    """Optimizer steps between two looks at the valid tokens."""
    eval_tokens: int = Field(65_536, gt=0)
    """How many valid tokens are looked at, spread evenly over all."""
    run: PretrainRun = PretrainRun()
    """How it is run."""
    earlier: Earlier = Earlier()
    """The segments before it."""
    formerly: ClassVar[Mapping[str, str]] = EVALUATING


class PretrainRecipe(Conf):
    """The chain of segments of a recipe; each starts from the weights and the optimizer of the one before."""

    segments: dict[str, SegmentConf] = Field(min_length=1)
    """Segments by name, in order."""
    optimizer: OptimizerConf = OptimizerConf()
    """The optimizer and its guard."""
    seed: int = Field(0, ge=0)
    """Seed of the weights, of the order of the data and of dropout."""
    eval_interval: int = Field(200, ge=1)
    """Optimizer steps between two looks at the valid tokens."""
    eval_tokens: int = Field(65_536, gt=0)
    """How many valid tokens are looked at, spread evenly over all."""
    run: PretrainRun = PretrainRun()
    """How it is run."""
    formerly: ClassVar[Mapping[str, str]] = EVALUATING

    @model_validator(mode="after")
    def _starts_once(self) -> Self:
        if late := [name for name, segment in list(self.segments.items())[1:] if segment.start]:
            raise ValueError(
                f"pretrain.segments.{late[0]}.start: only the first segment, {next(iter(self.segments))}, starts "
                "elsewhere; each of the others goes on from the one before: leave it out"
            )
        return self

    @model_validator(mode="after")
    def _samples_fit(self) -> Self:
        if self.run.sample_every is None or not self.run.sample_prompts:
            return self
        for name, segment in self.segments.items():
            if self.run.sample_tokens >= segment.seq_len:
                raise ValueError(
                    f"pretrain.run.sample_tokens={self.run.sample_tokens} and the token before them are more than "
                    f"pretrain.segments.{name}.seq_len={segment.seq_len}: lower pretrain.run.sample_tokens (prompts "
                    f"need room too), or raise pretrain.segments.{name}.seq_len, or set pretrain.run.sample_every=null"
                )
        return self

    @property
    def start(self) -> str | None:
        """What the first segment goes on from."""
        return next(iter(self.segments.values())).start

    def chain(self, model: NetworkConf) -> list[PretrainConf]:
        """One config for each segment, in order; what the first one starts from goes in as an artifact."""
        return [
            PretrainConf(
                model=model,
                segment=segment.model_copy(update={"start": None}),
                optimizer=self.optimizer,
                seed=self.seed,
                eval_interval=self.eval_interval,
                eval_tokens=self.eval_tokens,
                run=self.run.model_copy(update={"segment": name}),
                earlier=Earlier(segments=tuple(self.segments.values())[:place]),
            )
            for place, (name, segment) in enumerate(self.segments.items())
        ]
