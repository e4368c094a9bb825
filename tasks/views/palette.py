"""The one palette of all pages and plots: Okabe and Ito's colours, told apart by every kind of eye.

Each series colour has 3:1 or more against the background of its theme. Colour is never the only signal: series also
differ by dash or mark, states also by a word.
"""

from __future__ import annotations

from collections.abc import Sequence

SHOWN_LABELS = 40
"""Most classes of a confusion matrix that are shown: larger ones cannot be read, and their picture takes gigabytes."""
SERIES = ("#0072b2", "#c75300", "#008560", "#a8518a", "#8a6d00", "#5a5f66")
"""Colours of series on a light background, in this order."""
SERIES_DARK = ("#56b4e9", "#f0975a", "#2fc79a", "#e39ac4", "#e0c040", "#a9b0ba")
"""The same on a dark background."""
DASHES = ("", "6 3", "2 3", "8 3 2 3", "1 3", "10 4")
"""Stroke patterns that go with the series, as SVG writes them."""
LIGHT = {
    "background": "#ffffff",
    "surface": "#f5f6f7",
    "text": "#16191d",
    "muted": "#5a626c",
    "line": "#d8dce1",
    "good": "#00704f",
    "warning": "#8a5a00",
    "bad": "#b3261e",
}
"""What is not a series, on a light background."""
DARK = {
    "background": "#14171b",
    "surface": "#1d2126",
    "text": "#e8eaed",
    "muted": "#a0a8b2",
    "line": "#363c44",
    "good": "#43c99b",
    "warning": "#e3b341",
    "bad": "#ff8a80",
}
"""The same on a dark background."""


def most_frequent(matrix: Sequence[Sequence[int]]) -> list[int]:
    """Which classes of a confusion matrix are shown: all, or those with the most items, in their order."""
    by_items = sorted(range(len(matrix)), key=lambda n: -sum(matrix[n]))
    return sorted(by_items[:SHOWN_LABELS])
