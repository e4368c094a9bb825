"""Lines that are taken out of documents before these are judged (C4: Raffel et al. 2020, section 2.2).

After C4's published code, as datatrove reads it, but that a quote may also be a typographic one, and that indentation
stays. Phrases are looked for in whole texts or lines afterwards, so that what stood in a line that is gone condemns no
document.
"""

from __future__ import annotations

import re
from collections import Counter

import polars as pl

from conf.schema.rules import LinesConf

CITATIONS = r"\[\d*\]|\[edit\]|\[citation needed\]"
_ENDS = "[.!?\"'\u201d\u2019]\\s*$"
_LINE = pl.col("line")


def edit_lines(texts: pl.Series, conf: LinesConf) -> tuple[pl.Series, Counter[str]]:
    """The texts without the lines that break a rule; how many lines that were not blank broke each rule first, and
    under `citations` how many marks were removed."""
    removed: Counter[str] = Counter()
    if conf.citations:
        removed["citations"] = int(texts.str.count_matches(CITATIONS).sum())
        texts = texts.str.replace_all(CITATIONS, "")
    rules = _rules(conf)
    if not rules:
        return texts, +removed
    broken = pl.coalesce([pl.when(condition).then(pl.lit(name)) for name, condition in rules.items()])
    lines = pl.DataFrame({"line": texts.str.split("\n")}).with_row_index("row").explode("line")
    judged = lines.with_columns(broken.alias("broken"))
    removed.update(judged.filter(_LINE.str.contains(r"\S"))["broken"].drop_nulls().to_list())
    kept = judged.filter(pl.col("broken").is_null()).group_by("row", maintain_order=True).agg(_LINE.str.join("\n"))
    rows = pl.DataFrame({"row": pl.int_range(len(texts), dtype=pl.get_index_type(), eager=True)})
    joined = rows.join(kept, on="row", how="left", maintain_order="left")["line"].fill_null("")
    return joined.alias(texts.name), +removed


def _rules(conf: LinesConf) -> dict[str, pl.Expr]:
    """What a line must not be, in the order of `LinesConf`."""
    rules: dict[str, pl.Expr] = {}
    if conf.max_word is not None:
        # A pattern such as \S{1001} would be far slower.
        words = _LINE.str.split(r"\s+", literal=False)
        rules["max_word"] = words.list.eval(pl.element().str.len_chars()).list.max() > conf.max_word
    if conf.terminal_punctuation:
        rules["terminal_punctuation"] = ~_LINE.str.contains(_ENDS) | _LINE.str.contains(r"\.\.\.\s*$")
    if conf.min_words is not None:
        rules["min_words"] = _LINE.str.count_matches(r"\S+") < conf.min_words
    if conf.banned_phrases:
        phrases = "|".join(map(re.escape, conf.banned_phrases))
        rules["banned_phrases"] = _LINE.str.to_lowercase().str.contains(phrases)
    return rules
