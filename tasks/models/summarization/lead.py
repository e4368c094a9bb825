"""The beginning of a text, which a summary has to beat (lead-3: Nallapati et al. 2017)."""

from __future__ import annotations

import re

SENTENCES = 3
ENDS = re.compile(r"(?<=[.!?])\s+|(?<=[。！？।؟])\s*|\n+")
"""Where a sentence ends and another may begin, in scripts with spaces and without."""


def lead(text: str, sentences: int = SENTENCES) -> str:
    """The first sentences of a text."""
    ends = [match.start() for match in ENDS.finditer(text.strip()) if match.start()]
    return text.strip()[: ends[sentences - 1]] if len(ends) >= sentences else text.strip()
