"""What fine-tuning and its previews, which import no torch, agree on."""

from __future__ import annotations

MOST = 2_000
"""Conversations, or labelled documents, that a preview looks at; in the order of ids they are drawn at random."""
IGNORED = -100
"""The label of a token that the loss leaves out (torch's ignore_index)."""
WARN = 0.1
"""Share of the tokens, or of the conversations, that may be left out without a warning."""
