"""Options of a translation model."""

from __future__ import annotations

from typing import Literal

from conf.schema.evaluate import GateConf


class TranslationGate(GateConf):
    """The gate of a translation model."""

    metric: Literal["chrf", "bleu"] = "chrf"
    """What is compared, on the same items, both better high: chrF, of runs of letters in any script, or BLEU, of runs
    of words."""
    floors: tuple[Literal["copy"], ...] = ("copy",)
    """What it has to beat, or []: the text as it is."""
