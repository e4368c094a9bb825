"""Options of a summarization model."""

from __future__ import annotations

from typing import Literal

from conf.schema.evaluate import GateConf


class SummarizationGate(GateConf):
    """The gate of a summarization model."""

    metric: Literal["rouge_l", "chrf"] = "rouge_l"
    """What is compared, on the same items, both better high: ROUGE-L, the longest words in common in their order, or
    chrF, of runs of letters."""
    floors: tuple[Literal["lead"], ...] = ("lead",)
    """What it has to beat, or []: the first three sentences of the text."""
