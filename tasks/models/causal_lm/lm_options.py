"""Options of a language model: how its texts are measured."""

from __future__ import annotations

from typing import Literal

from conf.schema.evaluate import GateConf, SampleSpec, WindowConf


class LmEval(WindowConf):
    """Held-out bits per byte of a language model."""

    prompts: tuple[str, ...] = ("Return the", "This function", "The")
    """Beginnings to continue."""
    samples: SampleSpec = SampleSpec()
    """How they are continued."""


class LmGate(GateConf):
    """The gate of a language model."""

    metric: Literal["bits_per_byte", "nats"] = "bits_per_byte"
    """What is compared, on the same items: bits per byte or nats (mean loss of a document), both better low."""
    floors: tuple[Literal["gzip"], ...] = ("gzip",)
    """What it has to beat, or []: gzip -9 of the same text."""
