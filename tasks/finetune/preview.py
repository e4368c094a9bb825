"""What fine-tuning and its previews, which import no torch, agree on."""

from __future__ import annotations

MOST = 2_000
"""Conversations, or labelled documents, that a preview looks at; in the order of ids they are drawn at random."""
WARN = 0.1
"""Share of the tokens, or of the conversations, that may be left out without a warning."""
WHOLE = 95
"""Percent of the texts that max_length=auto leaves whole."""
