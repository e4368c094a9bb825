"""Punctuation by script, as regular expressions: what ends a sentence or a line, what begins an item of a list."""

from __future__ import annotations

_STOPS = ".!?\u061f\u06d4\u0964\u0965\u0589\u1362\u104b\u0f0d\u0f0e\u17d4\u17d5\u203c\u2047\u2048\u2049"
"""Full stops, exclamation and question marks: Latin and the like, Arabic, Devanagari, Armenian, Ethiopic, Burmese,
Tibetan, Khmer."""
_WIDE_STOPS = "\u3002\uff01\uff1f\uff61\uff0e\ufe12"
"""Those that no space follows."""
_CLOSING = "\"'\u201d\u2019)\\]\u00bb"
_OPENING = "\"'\u201c\u2018(\\[\u00ab\u201e\u00bf\u00a1"
_WIDE_CLOSING = "\u201d\u2019\u300d\u300f\u300b\uff09\u3011"

ENDS = f"{_STOPS}{_WIDE_STOPS}\"'\u201d\u2019\u201c\u00bb\u300d\u300f"
"""Characters that end a line of prose (C4: . ! ? and quotes)."""
NO_STOPS = r"[\p{Thai}\p{Lao}]"
"""Letters of scripts that put nothing at the end of a sentence."""
ELLIPSIS = r"\.\.\.|\u2026+|\u3002{2,}"
BULLET = (
    r"(?m)^[ \t]*(?:(?:[-*•‣▪●◦]|\d+[.)])[ \t]|[\u30fb\uff65]|\d+[\u3001\uff0e]|[一二三四五六七八九十]+\u3001"
    r"|[(\uff08](?:\d+|[一二三四五六七八九十]+)[)\uff09])"
)
SENTENCE = (
    f"[{_STOPS}\u2026]+[{_CLOSING}]*[ \\t]+[{_OPENING}]*[\\p{{Lu}}\\p{{Lt}}\\p{{Lo}}\\p{{N}}]"
    f"|[{_WIDE_STOPS}]+[{_WIDE_CLOSING}]*[^\\s{_WIDE_STOPS}{_WIDE_CLOSING}]"
)
"""Where one sentence of a line ends and the next begins."""
