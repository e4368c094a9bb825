"""Options of evaluation and of the gate that compares a candidate with the champion."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from conf.schema.base import Conf, RunConf
from conf.schema.resources import ResourcesConf


class EvaluateRun(RunConf):
    """How evaluation is run; none of it enters the key."""

    model: str = "NAME"
    """The model\'s name in the recipe, for messages; the recipe fills it in."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to score: auto takes a GPU if there is one."""
    threads: int = Field(2, ge=1)
    """CPU threads of one evaluation."""
    resources: ResourcesConf = ResourcesConf()
    """What it asks of the place where it runs."""


class MeasureConf(Conf):
    """What every evaluation shares."""

    batch_tokens: int = Field(8192, ge=1)
    """Most tokens (padding included) in one forward pass."""
    resamples: int = Field(1000, ge=100)
    """Bootstrap resamples of an interval."""
    confidence: float = Field(0.95, gt=0, lt=1)
    """Probability that an interval covers."""
    seed: int = Field(0, ge=0)
    """Seed of the bootstrap."""
    sources: tuple[str, ...] = ()
    """The sources whose held-out documents it is measured on; none: those of data.sources of the model."""
    later: ClassVar[frozenset[str]] = frozenset({"sources"})
    run: EvaluateRun = EvaluateRun()
    """How it is run."""


class WindowConf(MeasureConf):
    """How a text longer than the model's context is scored."""

    window: int = Field(256, ge=2)
    """Tokens that the model sees at once; at most its context."""
    stride: int = Field(192, ge=1)
    """Tokens by which the window moves on: past the first window, a token sees at least window - stride before it."""

    @model_validator(mode="after")
    def _leaves_context(self) -> Self:
        if self.stride >= self.window:
            raise ValueError(f"stride ({self.stride}) must be smaller than window ({self.window})")
        return self


class SampleSpec(Conf):
    """Generations that a person looks at."""

    max_new_tokens: int = Field(48, ge=1)
    """Longest continuation, in tokens."""
    temperature: float = Field(0.8, gt=0)
    """Flattens (over 1) or sharpens (under 1) the distribution that is drawn from."""
    top_k: int = Field(50, ge=1)
    """Draw among this many likeliest tokens."""
    seeds: tuple[int, ...] = (0,)
    """One drawn continuation for each, beside the greedy one."""


class GateConf(Conf):
    """When a candidate may take the champion's place."""

    metric: str = "bits_per_byte"
    """What is compared, on the same items: a metric of the model's kind."""
    rule: Literal["superior", "non_inferior"] = "superior"
    """superior: the interval of the gain lies above 0; non_inferior: it lies above -margin, or reaches it."""
    margin: float = Field(0.0, ge=0)
    """How much worse a non-inferior candidate may be, in the metric's unit."""
    confidence: float = Field(0.95, gt=0, lt=1)
    """Probability that the two-sided interval covers."""
    resamples: int = Field(2000, ge=100)
    """Bootstrap resamples."""
    seed: int = Field(0, ge=0)
    """Seed of the bootstrap."""
    min_items: int = Field(30, ge=1)
    """With fewer items than this no comparison is trusted, and the candidate is refused, a first model too."""
    floors: tuple[str, ...] = ()
    """Baselines that a candidate has to beat, a first model too: the interval of its gain over each, on the same items,
    lies above 0. [] asks for none."""
