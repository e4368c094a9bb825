"""Lines that are taken out of documents before these are judged (C4: Raffel et al. 2020, section 2.2).

After C4's published code, as datatrove reads it, but that a quote may also be a typographic one, a stop one of any
script (and none in Thai and Lao, which write none), and that indentation stays. Phrases are looked for in whole texts
or lines afterwards, so that what stood in a line that is gone condemns no document.
"""

from __future__ import annotations

import re
from collections import Counter

import polars as pl

from conf.schema.rules import LinesConf
from tasks.clean.signs import ENDS, NO_STOPS
from tasks.text.words import count, spread

CITATIONS = r"\[\d*\]|\[edit\]|\[citation needed\]"
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
    counted = judged.filter(pl.col("broken").is_not_null() & _LINE.str.contains(r"\S"))["broken"].value_counts()
    removed.update(dict(counted.iter_rows()))
    kept = judged.filter(pl.col("broken").is_null()).group_by("row", maintain_order=True).agg(_LINE.str.join("\n"))
    rows = pl.DataFrame({"row": pl.int_range(len(texts), dtype=pl.get_index_type(), eager=True)})
    joined = rows.join(kept, on="row", how="left", maintain_order="left")["line"].fill_null("")
    return joined.alias(texts.name), +removed


def _rules(conf: LinesConf) -> dict[str, pl.Expr]:
    """What a line must not be, in the order of `LinesConf`."""
    rules: dict[str, pl.Expr] = {}
    if conf.max_word is not None:
        limit = conf.max_word
        rules["max_word"] = _LINE.map_batches(lambda lines: _with_longer_words(lines, limit), return_dtype=pl.Boolean)
    if conf.terminal_punctuation:
        said = _LINE.str.strip_chars_end()
        ends = said.str.tail(1).str.contains(rf"[{ENDS}]|{NO_STOPS}")
        rules["terminal_punctuation"] = ~ends | said.str.ends_with("...")
    if conf.min_words is not None:
        least = conf.min_words
        rules["min_words"] = _LINE.map_batches(lambda lines: count(lines) < least, return_dtype=pl.Boolean)
    if conf.banned_phrases:
        phrases = "|".join(map(re.escape, conf.banned_phrases))
        rules["banned_phrases"] = _LINE.str.to_lowercase().str.contains(phrases)
    return rules


def _with_longer_words(lines: pl.Series, limit: int) -> pl.Series:
    """Whether a line has a word of more characters; only lines of more bytes are cut into words."""
    found = (lines.str.len_bytes() > limit).to_numpy().copy()
    words = _LINE.str.split(r"\s+", literal=False).list.eval(pl.element().str.len_chars())
    longest = pl.DataFrame({"line": spread(lines.filter(pl.Series(found)))}).select(words.list.max())["line"]
    found[found] = longest.to_numpy() > limit
    return pl.Series(found)
