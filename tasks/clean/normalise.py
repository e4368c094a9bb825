"""Repair of text: wrong decodings, Unicode form, control characters, line ends, white space."""

from __future__ import annotations

from typing import Literal

import polars as pl

from conf.schema.clean import NormaliseConf
from tasks.clean.patience import Patience

_LATER_BYTE = "\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122"
SUSPICIOUS = f"[\u00c2-\u00f4][{_LATER_BYTE}]|[\u0080-\u009f]"
"""A UTF-8 lead byte read as Latin-1 or Windows-1252 and a byte that may follow it, or a C1 control character."""

_REPLACEMENTS = (
    (r"\r\n?|[\u0085\u2028\u2029]", "\n"),
    (r"\x1b\[[0-9;?]*[A-Za-z]", ""),
    (r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u2060\ufeff\ufff9-\ufffb]", ""),
    (r"[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]", " "),
    (r"(?m)[ \t]+$", ""),
)


def repair_mojibake(texts: pl.Series, patience: Patience) -> tuple[pl.Series, int]:
    """Undo wrong decodings with ftfy in the rows that look like it; returns the texts and how many changed."""
    suspects = texts.str.contains(SUSPICIOUS).fill_null(False).arg_true()
    if not len(suspects):
        return texts, 0
    import ftfy

    before = texts.gather(suspects)
    fixed = [patience(row, text, ftfy.fix_encoding, text) for row, text in zip(suspects, before, strict=True)]
    after = pl.Series(fixed, dtype=pl.String)
    return texts.clone().scatter(suspects, after), int((before != after).sum())


def normalise(texts: pl.Series, conf: NormaliseConf, patience: Patience | None = None) -> tuple[pl.Series, int]:
    """The repaired texts and how many had been decoded wrongly.

    Indentation and line breaks stay; control characters, terminal escapes, trailing spaces, byte order marks and other
    zero-width spaces go; exotic spaces become a space (the joiners U+200C and U+200D stay: scripts need them).
    """
    repaired = 0
    if conf.mojibake:
        texts, repaired = repair_mojibake(texts, patience or Patience())
    for pattern, value in _REPLACEMENTS:
        texts = texts.str.replace_all(pattern, value)
    if conf.unicode:
        texts = _compose(texts, conf.unicode)
    longest = "\n" * (conf.max_blank_lines + 1)
    texts = texts.str.replace_all(rf"\n{{{conf.max_blank_lines + 2},}}", longest)
    return texts.str.replace(r"^(?:[ \t]*\n)+", "").str.strip_chars_end(), repaired


def _compose(texts: pl.Series, form: Literal["NFC", "NFKC"]) -> pl.Series:
    """Only where it can change anything: ASCII stays as it is."""
    rows = (texts.str.len_bytes() != texts.str.len_chars()).fill_null(False).arg_true()
    return texts.clone().scatter(rows, texts.gather(rows).str.normalize(form))
